import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Secret } from '../../src/secret.ts'

const socketName = '.s.PGSQL.5432'

/** A way to the run's Postgres that a test can cut, mend, and hold up towards the server. */
export async function openWay(to: Secret<string>) {
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-way-'))
  const real = decodeURIComponent(new URL(to.reveal()).hostname)
  const sockets = new Set<Socket>()
  const clients = new Set<Socket>()
  let isCut = false
  let isSilent = false
  const server = createServer((client) => {
    if (isCut) return void client.destroy()
    if (isSilent) return void keepSilent(client)
    const upstream = connect({ path: join(real, socketName) })
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => sockets.delete(socket))
    }
    clients.add(client)
    client.pipe(upstream).pipe(client)
    // One that was held up hears the last words of the server before its own end is read.
    upstream.on('close', () => client.resume())
    client.on('close', () => {
      clients.delete(client)
      upstream.destroy()
    })
  })
  await new Promise<void>((resolve) => server.listen(join(directory, socketName), resolve))
  const cut = () => {
    isCut = true
    for (const socket of sockets) socket.destroy()
  }
  onTestFinished(() => {
    cut()
    server.close()
    rmSync(directory, { recursive: true })
  })
  const keepSilent = (client: Socket) => {
    sockets.add(client)
    client.on('error', () => client.destroy())
  }
  const url = to.reveal()
  return {
    url: url.replace(new URL(url).hostname, encodeURIComponent(directory)),
    cut,
    /** From here on the server hears nothing from the clients that are connected. */
    hold: () => {
      for (const client of clients) client.unpipe()
    },
    /** From here on nobody hears anything, on new connections as well. */
    silence: () => {
      isSilent = true
      for (const socket of sockets) socket.unpipe()
    },
    /** How many connections of clients are open. */
    open: () => clients.size,
    mend: () => {
      isCut = false
    },
  }
}
