import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'

/** AuthenticationOk and ReadyForQuery, of the protocol's version 3. */
const welcome = Buffer.from('520000000800000000' + '5a0000000549', 'hex')

test('a second signal ends a start that waits for a database which lets it in and then says nothing', async () => {
  const home = mkdtempSync(join(tmpdir(), 'vaultterm-silent-'))
  const asked = Promise.withResolvers<void>()
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.once('data', () => {
      socket.write(welcome)
      // A statement, to which nobody answers.
      socket.once('data', () => asked.resolve())
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const up = spawn(resolve(import.meta.dirname, '../../bin/vaultterm'), ['up', '--json'], {
    env: {
      PATH: process.env.PATH,
      VAULTTERM_HOME: join(home, 'home'),
      VAULTTERM_SSH_LISTEN: '127.0.0.1:0',
      VAULTTERM_PORTAL_LISTEN: '127.0.0.1:0',
      VAULTTERM_ADMIN_LISTEN: '127.0.0.1:0',
      DATABASE_URL: `postgres://u:p@127.0.0.1:${port}/d?sslmode=disable`,
    },
    stdio: 'ignore',
  })
  const ended = once(up, 'exit')
  try {
    await asked.promise
    up.kill('SIGTERM')
    up.kill('SIGHUP')
    const [code] = await ended
    expect(code).toBe(0)
  } finally {
    up.kill('SIGKILL')
    server.close()
    rmSync(home, { recursive: true, force: true })
  }
})
