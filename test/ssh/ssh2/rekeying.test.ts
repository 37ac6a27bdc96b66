import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { formatPublicKey, type RekeyLimits, Writer } from '../../../src/ssh/index.ts'
import { KeyExchanges } from '../../../src/ssh/ssh2/key-exchanges.ts'
import { runProgram } from '../../support/program.ts'
import { Attacker, msg } from '../../support/ssh-attacker.ts'
import { Authority, publicKeyOf } from '../../support/ssh-authority.ts'
import {
  channelMsg,
  openChannel,
  openChannelLab,
  openUnauthenticated,
} from '../../support/ssh-lab.ts'
import { echoSessions, listenForClients } from '../../support/ssh-listener.ts'
import { connectOn, signingKey } from '../../support/ssh-pair.ts'
import { Sshd } from '../../support/sshd.ts'

const mebibyte = 2 ** 20
const keys = new Authority()
const user = keys.newKey('ed25519')
afterAll(() => keys.remove())

/** How often our side has exchanged keys. */
let exchanges = 0
beforeEach(() => {
  exchanges = 0
  const { finished } = KeyExchanges.prototype
  vi.spyOn(KeyExchanges.prototype, 'finished').mockImplementation(function (this: KeyExchanges) {
    exchanges++
    finished.call(this)
  })
})
afterEach(() => vi.restoreAllMocks())

describe('64 MB each way, byte for byte, while keys are exchanged every 1 MB', () => {
  const bytes = randomBytes(64 * mebibyte)

  test.each<[string, readonly string[], Partial<RekeyLimits>]>([
    ['ssh starts it', ['-o', 'RekeyLimit=1M'], {}],
    ['our server starts it', [], { bytes: mebibyte }],
    ['both start it', ['-o', 'RekeyLimit=1M'], { bytes: mebibyte }],
  ])('%s', async (_, settings, rekey) => {
    const listener = await listenForClients(echoSessions, { rekey })
    try {
      const { stdout, stderr, code } = await runProgram(
        'ssh',
        [
          ...['-F', 'none', '-i', user.file, '-p', String(listener.port), ...settings],
          ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
          ...['somebody@127.0.0.1', 'echo'],
        ],
        { input: bytes },
      )
      expect(code, stderr).toBe(0)
      expect(stdout.equals(bytes)).toBe(true)
      expect(exchanges).toBeGreaterThan(32)
    } finally {
      await listener.close()
    }
  })

  test.each<[string, readonly string[], Partial<RekeyLimits>]>([
    ['sshd starts it', ['RekeyLimit 1M'], {}],
    ['our client starts it', [], { bytes: mebibyte }],
    ['both start it', ['RekeyLimit 1M'], { bytes: mebibyte }],
  ])('%s', async (_, settings, rekey) => {
    const sshd = await Sshd.start(settings)
    try {
      const { privateKey } = generateKeyPairSync('ed25519')
      sshd.authorize(formatPublicKey(publicKeyOf(privateKey)))
      const socket = connect({ port: sshd.port, host: sshd.host, noDelay: true })
      await once(socket, 'connect')
      const connection = await connectOn(socket, {
        user: sshd.login,
        key: signingKey(privateKey),
        rekey,
      })
      const channel = await connection.openChannel('session', Buffer.alloc(0))
      const came: Buffer[] = []
      const closed = new Promise<void>((resolve) =>
        channel.handle({
          data: (chunk) => {
            came.push(Buffer.from(chunk))
            channel.consumed(chunk.length)
          },
          extendedData: (_kind, chunk) => channel.drop(chunk),
          request: (request) => request.reply(false),
          eof: () => {},
          close: () => resolve(),
        }),
      )
      expect(await channel.request('exec', new Writer().text('cat').build(), true)).toBe(true)
      channel.write(bytes, () => {})
      channel.eof()
      await closed
      connection.destroy()
      expect(Buffer.concat(came).equals(bytes)).toBe(true)
      expect(exchanges).toBeGreaterThan(32)
    } finally {
      await sshd.close()
    }
  })
})

test('dbclient goes along with it', async () => {
  const input = randomBytes(8 * mebibyte)
  const listener = await listenForClients(echoSessions, { rekey: { bytes: mebibyte } })
  try {
    const file = `${user.file}.dropbear`
    expect((await runProgram('dropbearkey', ['-t', 'ed25519', '-f', file])).code).toBe(0)
    const { stdout, stderr } = await runProgram(
      'dbclient',
      ['-y', '-y', '-i', file, '-p', String(listener.port), 'somebody@127.0.0.1', 'echo'],
      { input },
    )
    expect(stdout.equals(input), stderr).toBe(true)
    expect(exchanges).toBeGreaterThan(4)
  } finally {
    await listener.close()
  }
})

test('keys are exchanged when the time has come, though nothing moves', async () => {
  const listener = await listenForClients(echoSessions, { rekey: { ms: 100 } })
  const socket = connect(listener.port, '127.0.0.1')
  await once(socket, 'connect')
  const connection = await connectOn(socket)
  await vi.waitFor(() => expect(exchanges).toBeGreaterThan(6), 30_000)
  connection.destroy()
  await listener.close()
})

/** Our server has started an exchange, and the other side does not go along. */
async function startExchange(rekey: Partial<RekeyLimits> = {}) {
  const lab = await openChannelLab({ rekey: { bytes: 4096, ...rekey } })
  lab.attacker.send(openChannel(7))
  await lab.attacker.first(channelMsg.confirmation)
  const channel = lab.channels[0] ?? expect.fail('no channel')
  lab.listen(channel)
  const since = lab.attacker.received.length
  channel.write(Buffer.alloc(8192), () => {})
  await lab.attacker.first(msg.kexInit, since)
  return { ...lab, channel }
}

const request = new Writer().u8(msg.globalRequest).text('x').boolean(true).build()

test('what is written meanwhile stays with whoever writes it', async () => {
  const { channel, attacker } = await startExchange()
  const since = attacker.received.length
  let sent = 0
  for (let count = 0; count < 100; count++) channel.write(Buffer.alloc(32_768), () => sent++)
  await sleep(50)
  expect(sent).toBe(0)
  expect(attacker.received.length).toBe(since)
})

test('attack: requests without end while an exchange is not gone along with', async () => {
  const { attacker, connection, wire } = await startExchange()
  connection.onGlobalRequest = (asked) => asked.reply(true, Buffer.alloc(30_000))
  for (let count = 0; count < 60; count++) attacker.send(request)
  await sleep(50)
  expect(wire.destroyed).toBe(false)
  for (let count = 0; count < 40; count++) attacker.send(request)
  expect((await connection.done).error).toMatchObject({ code: 'ERR_SSH_PROTOCOL' })
  expect(wire.destroyed).toBe(true)
})

test('attack: an exchange that we started and that is never gone along with', async () => {
  const { connection } = await startExchange({ stallMs: 50 })
  expect((await connection.done).error).toMatchObject({ code: 'ERR_SSH_PROTOCOL' })
})

test('attack: an exchange that is begun and never finished', async () => {
  const { attacker, connection } = await openChannelLab({ rekey: { stallMs: 50 } })
  attacker.sendKexInit()
  expect((await connection.done).error).toMatchObject({ code: 'ERR_SSH_PROTOCOL' })
})

test('an exchange that is finished in time is not waited for any longer (control)', async () => {
  const { attacker, wire } = await openChannelLab({ rekey: { stallMs: 1500 } })
  await attacker.rekey()
  await sleep(1700)
  expect(wire.destroyed).toBe(false)
  attacker.send(openChannel(7))
  await attacker.first(channelMsg.confirmation)
})

test('attack: exchanges without end are slowed down, and cut nobody off', async () => {
  const { attacker, wire } = await openChannelLab()
  let slowAt: number | undefined
  for (let count = 1; slowAt === undefined; count++) {
    await attacker.rekey()
    await sleep(0)
    if (wire.isPaused()) slowAt = count
  }
  expect(slowAt).toBeGreaterThan(30)
  attacker.send(openChannel(7))
  await attacker.first(channelMsg.confirmation)
})

test('attack: keys exchanged anew before the login', async () => {
  const { wire, ready } = openUnauthenticated()
  const attacker = new Attacker(wire)
  await attacker.handshakeForLogin()
  await attacker.rekey()
  expect(await attacker.disconnectReason()).toBe(2)
  expect(ready()).toBe(false)
})
