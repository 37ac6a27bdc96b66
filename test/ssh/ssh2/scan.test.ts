import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { scanHostKeys } from '../../../src/ssh/index.ts'
import { freePort } from '../../support/free-port.ts'
import { Sshd } from '../../support/sshd.ts'

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close()
})

async function listen(serve: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    serve(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push(server)
  return (server.address() as AddressInfo).port
}

const scan = (port: number, host = '127.0.0.1') => scanHostKeys(host, port, 10_000)

test('a scan that reaches no server names the host and the cause', async () => {
  const port = await freePort()
  await expect(scan(port)).rejects.toMatchObject({
    code: 'ERR_TARGET_UNREACHABLE',
    message: expect.stringContaining(`nothing answers at 127.0.0.1:${port} (connection refused)`),
  })
  await expect(scan(22, 'nowhere.invalid')).rejects.toMatchObject({
    code: 'ERR_TARGET_UNREACHABLE',
    message: expect.stringContaining(
      'nothing answers at nowhere.invalid:22 (its name does not resolve)',
    ),
  })
})

test.each<[string, (socket: Socket) => void, string, string]>([
  [
    'a web server',
    (socket) => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
    '(the answer is not SSH)',
    'ERR_UPSTREAM_PROTOCOL',
  ],
  [
    'a server that closes at once',
    (socket) => socket.end(),
    '(the connection was closed at once)',
    'ERR_UPSTREAM_CLOSED',
  ],
])('a scan of %s says that no SSH server answers there', async (_, serve, why, code) => {
  const port = await listen(serve)
  await expect(scan(port)).rejects.toMatchObject({
    code,
    message: expect.stringContaining(`no SSH server answers at 127.0.0.1:${port} ${why}`),
  })
})

test('a scan of a server that says nothing ends in time and says so', async () => {
  const port = await listen(() => {})
  await expect(scanHostKeys('127.0.0.1', port, 300)).rejects.toMatchObject({
    code: 'ERR_UPSTREAM_TIMEOUT',
    message: expect.stringContaining(
      `no SSH server answers at 127.0.0.1:${port} (no answer in 0.3 s)`,
    ),
  })
})

test('a scan of an SSH server that breaks off, or has nothing in common with us, says that', async () => {
  const closing = await listen((socket) => {
    socket.write('SSH-2.0-Closing\r\n')
    socket.once('data', () => socket.end())
  })
  await expect(scan(closing)).rejects.toMatchObject({
    message: expect.stringMatching(
      /^the SSH server at .* shows no host key \(it closed the connection\)/,
    ),
  })
  const old = await Sshd.start(['KexAlgorithms diffie-hellman-group1-sha1'])
  open.push(old)
  await expect(scan(old.port)).rejects.toMatchObject({
    code: 'ERR_UPSTREAM_PROTOCOL',
    message: expect.stringMatching(/^the SSH server at .* no algorithm .* in common/),
  })
})

test('a scan gives the key of a server that has one', async () => {
  const sshd = await Sshd.start()
  open.push(sshd)
  expect((await scan(sshd.port)).map(({ type }) => type)).toEqual(['ssh-ed25519'])
})
