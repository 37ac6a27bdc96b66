import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatPublicKey, parsePublicKeyBlob, publicKeyBlob, Writer } from '../../src/ssh/index.ts'
import { events, eventually, metric } from '../support/installation.ts'
import { Attacker, msg } from '../support/ssh-attacker.ts'
import { channelMsg, channelRequest, openChannel, signedLogin } from '../support/ssh-lab.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Who is not let in, and who is and asks for what nobody gets, at the whole program. */
const connectionsMax = 4
let vaultterm: VaultTerm
/** Somebody who is let in, and is not the demo user. */
const guest = generateKeyPairSync('ed25519')
const sockets = new Set<Socket>()

beforeAll(async () => {
  vaultterm = await VaultTerm.start({
    VAULTTERM_LOGIN_GRACE_SECONDS: '10',
    VAULTTERM_CONNECTIONS_PER_USER_MAX: String(connectionsMax),
  })
  const parsed = parsePublicKeyBlob(publicKeyBlob(guest.publicKey))
  if (!('key' in parsed)) throw new Error(parsed.problem)
  const file = join(vaultterm.home, 'guest.pub')
  writeFileSync(file, `${formatPublicKey(parsed.key)}\n`)
  await vaultterm.json('user', 'add', 'acme', 'guest')
  await vaultterm.json('key', 'add', 'acme', 'guest', file)
  await vaultterm.json('grant', 'add', 'acme', '--user', 'guest', '--target', 'web1')
})
afterAll(async () => {
  for (const socket of sockets) socket.destroy()
  await vaultterm?.close()
})

function dial(localAddress = '127.0.0.1'): { attacker: Attacker; socket: Socket } {
  const port = Number(vaultterm.sshPort)
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  socket.on('error', () => {})
  sockets.add(socket)
  socket.once('close', () => sockets.delete(socket))
  return { attacker: new Attacker(socket), socket }
}

async function enter(pair = guest): Promise<Attacker> {
  const { attacker } = dial()
  await attacker.handshakeForLogin()
  attacker.send(signedLogin(attacker.sessionId, 'acme+web1', pair))
  await attacker.first(msg.authSuccess)
  return attacker
}

const expectWell = async () =>
  expect(await vaultterm.ssh(['acme+web1', 'echo', 'well'])).toMatchObject({ stdout: 'well\n' })

const noneLeft = () =>
  eventually(
    async () => ((await metric(vaultterm, 'bastion_connections')) === 0 ? true : undefined),
    'every connection gone',
  )

test('PD-01 PD-03: who stalls is gone at the grace time, whatever they have said', async () => {
  const stalls: readonly ((attacker: Attacker) => unknown)[] = [
    () => {},
    (attacker) => attacker.write('SSH-2.0-ha'),
    (attacker) => attacker.sendIdent(),
    (attacker) => {
      attacker.sendIdent()
      attacker.sendKexInit()
    },
    (attacker) => attacker.handshakeForLogin(),
  ]
  const stalled = Array.from({ length: 100 }, (_, index) => {
    const { attacker } = dial(`127.0.2.${1 + (index % 20)}`)
    void Promise.resolve(stalls[index % stalls.length]?.(attacker)).catch(() => {})
    return attacker
  })
  await expectWell()
  await Promise.all(stalled.map(({ closed }) => closed))
  await noneLeft()
  // Who has logged in stays (control).
  const attacker = await enter()
  await sleep(10_500)
  expect(attacker.ended).toBe(false)
  attacker.end()
  await noneLeft()
})

test('PD-05: a flood of key exchanges keeps nobody out', async () => {
  let exchanges = 0
  let over = false
  const flooder = async (number: number) => {
    while (!over) {
      const { attacker, socket } = dial(`127.0.3.${number}`)
      attacker.sendIdent()
      attacker.send(attacker.makeKexInit(), kexInitiate)
      await attacker.first(msg.kexReply).then(
        () => exchanges++,
        () => {},
      )
      socket.destroy()
    }
  }
  const flood = Array.from({ length: 16 }, (_, number) => flooder(number + 1))
  for (let logins = 0; logins < 3; logins++) await expectWell()
  over = true
  await Promise.all(flood)
  expect(exchanges).toBeGreaterThan(50)
  await noneLeft()
})

const kexInitiate = new Writer()
  .u8(msg.kexInitiate)
  .string(
    Buffer.from(
      String(generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' }).x),
      'base64url',
    ),
  )
  .build()

test('PD-08 PD-13: a flood of logins by nobody keeps nobody out', async () => {
  let over = false
  let refused = 0
  const flooder = async (number: number) => {
    while (!over) {
      const { attacker, socket } = dial(`127.0.5.${1 + (number % 20)}`)
      await attacker.handshakeForLogin().catch(() => {})
      attacker.send(
        ...Array.from({ length: 6 }, () => signedLogin(attacker.sessionId, 'acme', nobody)),
      )
      await attacker.closed
      refused += attacker.received.filter(([type]) => type === msg.authFailure).length
      socket.destroy()
    }
  }
  const flood = Array.from({ length: 180 }, (_, number) => flooder(number))
  await sleep(1000)
  for (let logins = 0; logins < 4; logins++) await expectWell()
  over = true
  await Promise.all(flood)
  expect(refused).toBeGreaterThan(100)
  expect(vaultterm.stderr).not.toContain('could not be decided')
  await noneLeft()
})

const nobody = generateKeyPairSync('ed25519')

test('PD-09: guesses from 60 addresses do not lock the owner out', async () => {
  const outcomes = await Promise.all(
    Array.from({ length: 60 }, async (_, index) => {
      const { attacker, socket } = dial(`127.0.4.${index + 1}`)
      await attacker.handshakeForLogin()
      for (let tries = 0; tries < 3; tries++) attacker.send(signedLogin(attacker.sessionId, 'acme'))
      const answers = () =>
        attacker.received.filter(([type]) => type === msg.authFailure || type === msg.authSuccess)
      await attacker.until(() => answers()[2])
      socket.destroy()
      return answers().map(([type]) => type)
    }),
  )
  expect(new Set(outcomes.flat())).toEqual(new Set([msg.authFailure]))
  await expectWell()
  // On the log, as far as they do not fill it.
  const failures = async () =>
    (await events(vaultterm)).filter(({ type }) => type === 'login.failure')
  await eventually(async () => (await failures())[20], 'failures on the log')
})

test('PD-13: one user has so many connections, and takes no place of another', async () => {
  const mine = await Promise.all(Array.from({ length: connectionsMax }, () => enter()))
  const { attacker } = dial()
  await attacker.handshakeForLogin()
  attacker.send(signedLogin(attacker.sessionId, 'acme+web1', guest))
  expect(await attacker.disconnectReason()).toBe(12)
  await expectWell()
  for (const one of mine) one.end()
  await Promise.all(mine.map(({ closed }) => closed))
  await noneLeft()
  const again = await enter()
  again.end()
})

describe('CH-01 CH-03 CH-04 CH-05 CH-10 CH-11: nobody gets', () => {
  const tcp = (host: string, port: number) =>
    new Writer().text(host).u32(port).text('127.0.0.1').u32(4000).build()
  const adminPort = () => Number(vaultterm.ready.admin.split(':').at(-1))
  const channels: readonly [string, string, () => Buffer][] = [
    ['a forward to the admin plane', 'direct-tcpip', () => tcp('127.0.0.1', adminPort())],
    ['a forward to it by name', 'direct-tcpip', () => tcp('localhost', adminPort())],
    ['a forward to metadata', 'direct-tcpip', () => tcp('169.254.169.254', 80)],
    [
      'a forward to the database',
      'direct-streamlocal@openssh.com',
      () => new Writer().text('/run/postgresql/.s.PGSQL.5432').text('').u32(0).build(),
    ],
    ['a forward from us', 'forwarded-tcpip', () => tcp('127.0.0.1', 22)],
    ['an agent', 'auth-agent@openssh.com', () => Buffer.alloc(0)],
    ['a display', 'x11', () => new Writer().text('127.0.0.1').u32(6000).build()],
    ['a tunnel', 'tun@openssh.com', () => new Writer().u32(1).u32(0).build()],
  ]
  test.each(channels)('%s', async (_, type, payload) => {
    const attacker = await enter()
    attacker.send(
      new Writer()
        .u8(channelMsg.open)
        .text(type)
        .u32(7)
        .u32(2 ** 21)
        .u32(2 ** 15)
        .bytes(payload())
        .build(),
    )
    expect((await attacker.first(channelMsg.failure)).readUInt32BE(1)).toBe(7)
    attacker.end()
  })

  const requests: readonly [string, Buffer][] = [
    ['tcpip-forward', new Writer().text('0.0.0.0').u32(0).build()],
    ['cancel-tcpip-forward', new Writer().text('0.0.0.0').u32(22).build()],
    ['streamlocal-forward@openssh.com', new Writer().text('/tmp/x').build()],
  ]
  test.each(requests)('%s', async (name, payload) => {
    const attacker = await enter()
    attacker.send(
      new Writer().u8(msg.globalRequest).text(name).boolean(true).bytes(payload).build(),
    )
    await attacker.first(82)
    attacker.end()
  })

  const asked: readonly [string, Buffer][] = [
    ['auth-agent-req@openssh.com', Buffer.alloc(0)],
    [
      'x11-req',
      new Writer().boolean(false).text('MIT-MAGIC-COOKIE-1').text('c0ffee11').u32(0).build(),
    ],
    ['subsystem', new Writer().text('sftp;id').build()],
    ['subsystem', new Writer().text('../../x').build()],
    ['env', new Writer().text('LD_PRELOAD').text('/tmp/x.so').build()],
    ['env', new Writer().text('LC_ALL').text('C\nPATH=/tmp').build()],
  ]
  test.each(asked)('%s', async (name, payload) => {
    const attacker = await enter()
    attacker.send(openChannel(0))
    await attacker.first(channelMsg.confirmation)
    attacker.send(channelRequest(0, name, true, payload))
    await attacker.first(channelMsg.refused)
    attacker.end()
    expect(vaultterm.stderr).not.toContain('c0ffee11')
  })

  test('what everybody gets (control)', async () => {
    const attacker = await enter()
    attacker.send(openChannel(0))
    await attacker.first(channelMsg.confirmation)
    attacker.send(channelRequest(0, 'exec', true, new Writer().text('true').build()))
    await attacker.first(channelMsg.success)
    await attacker.first(channelMsg.close)
    attacker.end()
  })
})
