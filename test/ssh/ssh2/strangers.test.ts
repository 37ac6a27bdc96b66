import { generateKeyPairSync } from 'node:crypto'
import { type Duplex, duplexPair } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import {
  type Connection,
  createSshServer,
  generateHostKey,
  publicKeyBlob,
  Reader,
  verifyUserSignature,
  Writer,
} from '../../../src/ssh/index.ts'
import { Attacker, authRequest, msg, publicKeyFields } from '../../support/ssh-attacker.ts'
import { channelMsg, openChannel, openChannelLab, signedLogin } from '../../support/ssh-lab.ts'

/** What strangers do to our server before it knows who they are. */
const hostKey = generateHostKey()

interface StrangerLab {
  readonly attacker: Attacker
  readonly wire: Duplex
  readonly log: string[]
  readonly asked: () => number
  readonly connection: Promise<Connection>
}

function openLab({ graceMs = 60_000, ready = (_connection: Connection) => {} } = {}): StrangerLab {
  const [wire, theirs] = duplexPair()
  const log: string[] = []
  const { promise: connection, resolve } = Promise.withResolvers<Connection>()
  let asked = 0
  const server = createSshServer({
    hostKeys: [hostKey],
    ident: 'VaultTerm',
    loginGraceMs: graceMs,
    authTriesMax: 6,
    channelsMax: 8,
    log: pino({ level: 'trace' }, { write: (line) => log.push(line) }),
  })
  server.serve(wire, {
    async authenticate({ key, algorithm, signature, signedData }) {
      asked++
      return verifyUserSignature({ key, algorithm, signature, data: signedData })
    },
    ready: (given) => {
      ready(given)
      resolve(given)
    },
  })
  return { attacker: new Attacker(theirs), wire, log, asked: () => asked, connection }
}

/** Waited for by nobody who is cut off. */
const soonMs = 30_000
const isClosed = (attacker: Attacker) =>
  Promise.race([attacker.closed.then(() => true), sleep(soonMs, false)])

describe('PD-01 PD-03: who does not go on is cut off at the grace time', () => {
  const graceMs = 300
  const stalls: readonly [string, (attacker: Attacker) => Promise<void> | void][] = [
    ['saying nothing', () => {}],
    ['half an identification', (attacker) => attacker.write('SSH-2.0-ha')],
    [
      'a byte now and then',
      async (attacker) => {
        for (const byte of Buffer.from('SSH-2.0-slow-but-talking')) {
          attacker.write(Buffer.of(byte))
          await sleep(20)
        }
      },
    ],
    [
      'a KEXINIT and nothing more',
      (attacker) => {
        attacker.sendIdent()
        attacker.sendKexInit()
      },
    ],
    ['a key exchange and nothing more', (attacker) => attacker.handshake()],
    ['a wish to log in and nothing more', (attacker) => attacker.handshakeForLogin()],
    [
      'nothing but IGNORE',
      async (attacker) => {
        await attacker.handshakeForLogin()
        for (let count = 0; count < 20; count++) {
          attacker.send(new Writer().u8(2).text('still here').build())
          await sleep(20)
        }
      },
    ],
  ]
  test.each(stalls)('%s', async (_, stall) => {
    const from = performance.now()
    const { attacker, wire } = openLab({ graceMs })
    // It may be cut off in the middle of what it does first.
    void Promise.resolve(stall(attacker)).catch(() => {})
    expect(await isClosed(attacker)).toBe(true)
    expect(performance.now() - from).toBeGreaterThanOrEqual(graceMs - 10)
    expect(wire.destroyed).toBe(true)
  })

  test('who has logged in is not (control)', async () => {
    const { attacker, connection } = openLab({ graceMs: 2000 })
    await attacker.handshakeForLogin()
    attacker.send(signedLogin(attacker.sessionId))
    await connection
    await sleep(2100)
    attacker.send(openChannel(0))
    await attacker.first(channelMsg.failure)
  })
})

describe('PD-02 PD-14: is no client that says', () => {
  test.each([
    ['another protocol', 'SSH-1.5-old\r\n'],
    ['more than 255 bytes', `SSH-2.0-${'A'.repeat(9000)}\r\n`],
    ['8 KB without an end', 'A'.repeat(8192)],
    ['lines before it', `${'hello\r\n'.repeat(2000)}SSH-2.0-x\r\n`],
    ['a PROXY header', 'PROXY TCP4 198.51.100.7 127.0.0.1 4000 22\r\nSSH-2.0-x\r\n'],
    ['a PROXY header in binary', '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0cSSH-2.0-x\r\n'],
    ['HTTP', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['TLS', '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03'.padEnd(600, '\0')],
  ])('%s', async (_, ident) => {
    const { attacker, log } = openLab()
    attacker.write(Buffer.from(ident, 'latin1'))
    attacker.sendKexInit()
    attacker.sendKexInitiate()
    expect(await isClosed(attacker)).toBe(true)
    expect(attacker.received.some(([type]) => type === msg.kexReply)).toBe(false)
    // Whatever was said of it is still one JSON object a line.
    for (const line of log) expect(line).toMatch(/^\{[\x20-\x7e]*\}\n$/)
    expect(log.join('')).not.toContain('198.51.100.7')
  })

  test('what a client says (control), escapes and all, of which none reaches the log', async () => {
    const { attacker, log, connection } = openLab()
    await attacker.handshakeForLogin()
    attacker.send(signedLogin(attacker.sessionId))
    expect((await connection).peerIdent).toBe('SSH-2.0-attacker')
    expect(log.join('')).not.toContain('\x1b')
  })
})

describe('PD-04: a packet ends the connection that says to have', () => {
  const packet = (length: number, padding: number, bytes: number) => {
    const header = Buffer.alloc(5)
    header.writeUInt32BE(length)
    header.writeUInt8(padding, 4)
    return Buffer.concat([header, Buffer.alloc(bytes, 2)])
  }
  test.each([
    ['no bytes', packet(0, 0, 8)],
    ['one byte', packet(1, 0, 8)],
    ['one byte more than a packet may', packet(35_001, 4, 64)],
    ['2^31 - 1 bytes', packet(2 ** 31 - 1, 4, 64)],
    ['2^31 bytes', packet(2 ** 31, 4, 64)],
    ['2^32 - 1 bytes', packet(2 ** 32 - 1, 4, 64)],
    ['more padding than bytes', packet(12, 255, 11)],
    ['a length that is no multiple of eight', packet(13, 4, 12)],
  ])('%s', async (_, bytes) => {
    const { attacker } = openLab()
    attacker.sendIdent()
    attacker.write(bytes)
    expect(await isClosed(attacker)).toBe(true)
  })

  test('what it has (control: it is read)', async () => {
    const { attacker } = openLab()
    attacker.sendIdent()
    attacker.send(new Writer().u8(2).string(Buffer.alloc(32_000)).build())
    await attacker.finishHandshake(attacker.sendKexInit(), attacker.sendKexInitiate())
    await attacker.first(msg.extInfo)
  })
})

describe('what is offered', () => {
  const offered = async () => {
    const { attacker } = openLab()
    attacker.sendIdent()
    const reader = new Reader(await attacker.first(msg.kexInit))
    reader.bytes(17)
    const lists = Array.from({ length: 10 }, () => reader.nameList())
    return { kex: lists[0] ?? [], all: lists.flat(), compression: [lists[6], lists[7]] }
  }

  test('PD-05: no exchange that costs us much and a stranger nothing', async () => {
    const { kex } = await offered()
    expect(kex).toContain('curve25519-sha256')
    expect(kex.filter((name) => name.startsWith('diffie-hellman'))).toEqual([])
  })

  test('PD-06: no compression, also not to who insists', async () => {
    expect((await offered()).compression).toEqual([['none'], ['none']])
    const attempt = (compression: string) => {
      const { attacker } = openLab()
      attacker.sendIdent()
      const init = attacker.sendKexInit({ compression })
      return attacker.finishHandshake(init, attacker.sendKexInitiate()).then(
        () => 'agreed',
        () => 'refused',
      )
    }
    expect(await attempt('zlib')).toBe('refused')
    expect(await attempt('zlib@openssh.com')).toBe('refused')
    expect(await attempt('none')).toBe('agreed')
  })

  test('nothing with SHA-1, DSA or CBC', async () => {
    const { all } = await offered()
    expect(all.filter((name) => /sha1$|^ssh-(rsa|dss)$|cbc|arcfour|umac-64/.test(name))).toEqual([])
  })
})

describe('PD-08: after six tries it is over', () => {
  const wrong = (sessionId: Buffer) => {
    const login = signedLogin(sessionId)
    login[login.length - 1] = (login[login.length - 1] ?? 0) ^ 1
    return login
  }
  const devices = new Writer().text('').text('pam,'.repeat(5000)).build()
  test.each([
    ['wrong signatures', (attacker: Attacker) => wrong(attacker.sessionId)],
    [
      'passwords',
      () => authRequest('acme', 'password', new Writer().boolean(false).text('x').build()),
    ],
    ['devices without end', () => authRequest('acme', 'keyboard-interactive', devices)],
  ])('%s, a thousand at once', async (_, make) => {
    const { attacker, asked } = openLab()
    await attacker.handshakeForLogin()
    attacker.send(...Array.from({ length: 1000 }, () => make(attacker)))
    expect(await isClosed(attacker)).toBe(true)
    expect(asked()).toBeLessThanOrEqual(6)
    const failures = attacker.received.filter(([type]) => type === msg.authFailure)
    expect(failures.length).toBeLessThanOrEqual(6)
  })

  test('five, and then the right one (control)', async () => {
    const { attacker, connection } = openLab()
    await attacker.handshakeForLogin()
    for (let tries = 1; tries <= 5; tries++) {
      attacker.send(wrong(attacker.sessionId))
      const all = () => attacker.received.filter(([type]) => type === msg.authFailure)
      await attacker.until(() => (all().length === tries ? true : undefined))
    }
    attacker.send(signedLogin(attacker.sessionId))
    await connection
  })
})

describe('PD-11 AU-05 AU-06: nobody is asked about', () => {
  const rsa = (modulus: Buffer, exponent: Buffer) =>
    new Writer().text('ssh-rsa').mpint(exponent).mpint(modulus).build()
  const good = Buffer.from([1, 0, 1])
  const modulus = (bits: number) => Buffer.alloc(bits / 8, 0xb5)
  const ed25519 = publicKeyBlob(generateKeyPairSync('ed25519').publicKey)
  const rsaKey = publicKeyBlob(generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey)
  const dsa = new Writer().text('ssh-dss').mpint(modulus(1024)).mpint(modulus(16_384))
  const offers: readonly [string, string, Buffer][] = [
    ['an RSA key of more than 16384 bits', 'rsa-sha2-256', rsa(modulus(16_448), good)],
    ['an RSA key of 262144 bits', 'rsa-sha2-256', rsa(modulus(262_144 - 64), good)],
    ['an RSA key of 1024 bits', 'rsa-sha2-256', rsa(modulus(1024), good)],
    ['an RSA key of 56 bits', 'rsa-sha2-256', rsa(modulus(56), good)],
    ['exponent 1', 'rsa-sha2-256', rsa(modulus(3072), Buffer.of(1))],
    ['an even exponent', 'rsa-sha2-256', rsa(modulus(3072), Buffer.from([1, 0, 0]))],
    ['a huge exponent', 'rsa-sha2-256', rsa(modulus(3072), modulus(2048))],
    ['a DSA key', 'ssh-dss', dsa.mpint(good).mpint(good).build()],
    ['a short Ed25519 key', 'ssh-ed25519', new Writer().text('ssh-ed25519').string(good).build()],
    ['a key with a byte more', 'ssh-ed25519', Buffer.concat([ed25519, Buffer.of(0)])],
    ['an RSA key as Ed25519', 'ssh-ed25519', rsaKey],
    ['an Ed25519 key as RSA', 'rsa-sha2-512', ed25519],
    ['RSA with SHA-1', 'ssh-rsa', rsaKey],
    ['an algorithm that is none', 'none', ed25519],
    ['no key', 'ssh-ed25519', Buffer.alloc(0)],
  ]
  const attempt = async (algorithm: string, key: Buffer) => {
    const { attacker, asked } = openLab()
    await attacker.handshakeForLogin()
    const fields = publicKeyFields(algorithm, key, true)
    const signature = new Writer().text(algorithm).string(Buffer.alloc(64)).build()
    attacker.send(authRequest('acme', 'publickey', publicKeyFields(algorithm, key, false)))
    attacker.send(
      new Writer()
        .bytes(authRequest('acme', 'publickey', fields))
        .string(signature)
        .build(),
    )
    const answers = () =>
      attacker.received.filter(([type]) => type === msg.authFailure || type === msg.authMethod60)
    await Promise.race([attacker.until(() => answers()[1]), attacker.closed])
    return { asked: asked(), answers: answers().map(([type]) => type) }
  }

  test.each(offers)('%s', async (_, algorithm, key) => {
    const { asked, answers } = await attempt(algorithm, key)
    expect(asked).toBe(0)
    expect(answers).not.toContain(msg.authMethod60)
  })

  test.each([
    ['ssh-ed25519', ed25519],
    ['rsa-sha2-512', rsaKey],
  ])('a key as it should be (control: %s is)', async (algorithm, key) => {
    expect(await attempt(algorithm, key)).toEqual({
      asked: 1,
      answers: [msg.authMethod60, msg.authFailure],
    })
  })
})

test.each([
  ['another service', 'ssh-userauth'],
  ['no service', ''],
])('AU-04: nobody is let in for %s', async (_, service) => {
  const { attacker, asked } = openLab()
  await attacker.handshakeForLogin()
  const login = signedLogin(attacker.sessionId)
  const reader = new Reader(login)
  reader.u8()
  const user = reader.string()
  reader.string()
  attacker.send(
    new Writer()
      .u8(msg.authRequest)
      .string(user)
      .text(service)
      .bytes(reader.bytes(reader.left))
      .build(),
  )
  expect(await isClosed(attacker)).toBe(true)
  expect(asked()).toBe(0)
})

test.each([
  ['ends', ['curve25519-sha256', 'kex-strict-c-v00@openssh.com'], 'refused'],
  ['goes on (control)', ['curve25519-sha256'], 'agreed'],
])(
  'AU-26: with something put into it, an exchange that is strict or not %s',
  async (_, kex, outcome) => {
    const { attacker } = openLab()
    attacker.sendIdent()
    const init = attacker.sendKexInit({ kex })
    attacker.send(new Writer().u8(2).text('put in').build())
    const finished = attacker.finishHandshake(init, attacker.sendKexInitiate())
    expect(
      await finished.then(
        () => 'agreed',
        () => 'refused',
      ),
    ).toBe(outcome)
  },
)

test('attack: packets that are ignored end the connection of a stranger, and not that of a user', async () => {
  const ignored = Array(1100).fill(Buffer.from([2, 0, 0, 0, 0]))
  const { attacker } = openLab()
  await attacker.handshakeForLogin()
  attacker.send(...ignored)
  expect(await attacker.disconnectReason()).toBe(2)
  const user = openLab()
  await user.attacker.handshakeForLogin()
  user.attacker.send(signedLogin(user.attacker.sessionId))
  await user.attacker.first(msg.authSuccess)
  user.attacker.send(...ignored, openChannel(0))
  await user.attacker.first(channelMsg.failure)
})

test('PD-15: what a handler throws ends its connection and no other', async () => {
  const { attacker, log, connection } = openLab({
    ready: (given) => {
      given.onChannelOpen = () => {
        throw new Error('a fault of ours')
      }
    },
  })
  const other = openLab()
  for (const one of [attacker, other.attacker]) {
    await one.handshakeForLogin()
    one.send(signedLogin(one.sessionId))
  }
  await connection
  await other.connection
  attacker.send(openChannel(0))
  expect(await attacker.disconnectReason()).toBe(2)
  expect(log.join('')).toContain('a fault of ours')
  const [said] = attacker.received.filter(([type]) => type === msg.disconnect)
  expect(said?.toString('latin1')).not.toContain('a fault of ours')
  other.attacker.send(openChannel(0))
  await other.attacker.first(channelMsg.failure)
})

test.each([
  ['ends it', true],
  ['is answered without one (control)', false],
])('CH-09: what is asked while keys are exchanged %s', async (_, exchanging) => {
  const { attacker, connection } = await openChannelLab()
  const answers = () => attacker.received.filter(([type]) => type === 82).length
  if (exchanging) attacker.sendKexInit()
  const asked = new Writer().u8(msg.globalRequest).text('keepalive@openssh.com').boolean(true)
  attacker.send(...Array.from({ length: 10_000 }, () => asked.build()))
  if (exchanging) {
    expect((await connection.done).error?.message).toContain('packet type 80')
    expect(answers()).toBe(0)
  } else {
    await attacker.until(() => (answers() === 10_000 ? true : undefined))
    connection.destroy()
  }
})
