import { spawn } from 'node:child_process'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { addGrant, addTarget, eventually } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

let vaultterm: VaultTerm
let sshd: Sshd
/** Answers every connection with one line. */
let greeter: Server
let greeterPort = 0

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start(['MaxSessions 10'])
  await addTarget(vaultterm, sshd)
  await addGrant(vaultterm, 'forward,remote-forward')
  greeter = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.end('hello\n')
  })
  await new Promise<void>((done) => greeter.listen(0, '127.0.0.1', done))
  const address = greeter.address()
  greeterPort = typeof address === 'object' && address !== null ? address.port : 0
})
afterAll(async () => {
  greeter?.close()
  await vaultterm?.close()
  await sshd?.close()
})

test('a listener that fails is told before the command that follows it ends', async () => {
  const taken = String(greeterPort)
  for (let round = 0; round < 5; round++) {
    const { code, stderr } = await vaultterm.ssh(
      [
        ...['-o', 'ExitOnForwardFailure=yes', '-R', `127.0.0.1:${taken}:127.0.0.1:1`],
        ...['acme+real', 'true'],
      ],
      undefined,
      60_000,
    )
    expect([code, stderr]).toEqual([255, expect.stringContaining('remote port forwarding failed')])
  }
})

test('a command finds the listener that was asked for before it', async () => {
  for (let round = 0; round < 5; round++) {
    const port = await freePort()
    const { stdout } = await vaultterm.ssh(
      [
        ...['-R', `127.0.0.1:${port}:127.0.0.1:${greeterPort}`, 'acme+real'],
        `exec 3<>/dev/tcp/127.0.0.1/${port}; cat <&3`,
      ],
      undefined,
      60_000,
    )
    expect(stdout).toBe('hello\n')
  }
})

test('200 connections at a time go through one SOCKS port', async () => {
  const port = await freePort()
  const client = spawn(
    'ssh',
    ['-F', join(vaultterm.home, 'demo/ssh_config'), '-N', '-D', `127.0.0.1:${port}`, 'acme+real'],
    { stdio: 'ignore' },
  )
  try {
    await eventually(() => greeted(port).catch(() => undefined), 'the SOCKS port', 30_000)
    const all = await Promise.all(Array.from({ length: 200 }, () => greeted(port)))
    expect(all.filter((line) => line === 'hello\n')).toHaveLength(200)
  } finally {
    client.kill()
  }
})

/** One connection to the greeter through a SOCKS 5 server: RFC 1928. */
function greeted(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port })
    const request = Buffer.from([5, 1, 0, 1, 127, 0, 0, 1, greeterPort >> 8, greeterPort & 255])
    let received = Buffer.alloc(0)
    socket.once('error', reject)
    socket.once('connect', () => socket.write(Buffer.from([5, 1, 0])))
    socket.on('data', (chunk: Buffer) => {
      const isFirst = received.length === 0
      received = Buffer.concat([received, chunk])
      if (isFirst) socket.write(request)
    })
    // Two bytes answer the greeting, and ten the request.
    socket.once('close', () => resolve(received.subarray(12).toString()))
  })
}
