import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { duplexPair } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { verifyUserSignature } from '../../../src/ssh/index.ts'
import { Reader, Writer } from '../../../src/ssh/wire.ts'
import { Attacker, msg } from '../../support/ssh-attacker.ts'
import { hybridExchange, x25519Exchange } from '../../support/ssh-exchange.ts'
import { connectOn, serveOn } from '../../support/ssh-pair.ts'
import { openTap, type Side, type Tap } from '../../support/ssh-tap.ts'
import { loadSsh2, makeHostKeys } from '../../support/ssh2-library.ts'

const name = 'mlkem768x25519-sha256'
const hybrid = { kex: [name, 'ext-info-c'] }
const exchangeFailed = 3
const keyBytes = 1184
const ciphertextBytes = 1088

function openAttacker(): Attacker {
  const [ours, theirs] = duplexPair()
  void serveOn(ours)
  return new Attacker(theirs)
}

/** What our server answers to this instead of a public value. */
async function answerTo(publicValue: Uint8Array) {
  const attacker = openAttacker()
  attacker.sendIdent()
  attacker.sendKexInit(hybrid)
  attacker.send(new Writer().u8(msg.kexInitiate).string(publicValue).build())
  return attacker.until(() => {
    if (attacker.received.some(([type]) => type === msg.kexReply)) return 'goes on'
    const end = attacker.received.find(([type]) => type === msg.disconnect)
    return end && `disconnect ${end.readUInt32BE(1)}`
  })
}

/** The same bytes with others in place of some. */
function splice(bytes: Buffer, at: number, other: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), other, bytes.subarray(at + other.length)])
}

function lists(tap: Tap, from: Side): string[][] {
  const init = tap.seen.find((one) => one.from === from && one.payload[0] === msg.kexInit)
  const reader = new Reader(init?.payload ?? Buffer.alloc(0))
  reader.bytes(1 + 16)
  return [reader.nameList(), reader.nameList()]
}

/** X25519: every public value that leads to a secret of zeros, in both ways to write it. */
const lowOrder = [
  ['0', '00'.repeat(32)],
  ['1', `01${'00'.repeat(31)}`],
  ['of order 8', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'],
  ['of order 8 too', '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157'],
  ['p - 1', `ec${'ff'.repeat(30)}7f`],
  ['p', `ed${'ff'.repeat(30)}7f`],
  ['p + 1', `ee${'ff'.repeat(30)}7f`],
] as const

test('our client and our server agree on it before all others', async () => {
  const tap = openTap()
  const served = serveOn(tap.server)
  const connection = await connectOn(tap.client)
  await served
  expect(lists(tap, 'client')[0]?.[0]).toBe(name)
  expect(lists(tap, 'server')[0]?.[0]).toBe(name)
  const sizes = [msg.kexInitiate, msg.kexReply].map((type) => {
    const reader = new Reader(
      tap.seen.find(({ payload }) => payload[0] === type)?.payload ?? Buffer.of(),
    )
    reader.u8()
    if (type === msg.kexReply) reader.string()
    return reader.string().length
  })
  expect(sizes).toEqual([keyBytes + 32, ciphertextBytes + 32])
  connection.destroy()
})

describe('the secret', () => {
  /** Which of the two things that depend on it are as a client has them who derives it so. */
  async function derive(exchange = hybridExchange()) {
    const attacker = openAttacker()
    const sealed = await attacker.handshake(hybrid, exchange).then(
      () => true,
      () => false,
    )
    const { hostKey, exchangeHash, signature } = attacker.hostProof ?? expect.fail('no proof')
    const signed = verifyUserSignature({
      key: hostKey,
      algorithm: 'ssh-ed25519',
      signature,
      data: exchangeHash,
    })
    if (sealed) await attacker.first(msg.extInfo)
    attacker.end()
    return { signed, sealed }
  }

  test('is what the draft says, as another implementation of it has it', async () => {
    expect(await derive()).toEqual({ signed: true, sealed: true })
  })

  test('is a string, whether or not an integer would need a byte more, or less', async () => {
    const firstBytes: number[] = []
    const kinds = [(byte: number) => byte >= 0x80, (byte: number) => byte === 0]
    while (!kinds.every((kind) => firstBytes.some(kind))) {
      const exchange = hybridExchange({
        encode: (secret) => {
          firstBytes.push(secret.readUInt8(0))
          return new Writer().string(secret).build()
        },
      })
      expect(await derive(exchange)).toEqual({ signed: true, sealed: true })
    }
  })

  test('is no integer (control)', async () => {
    const outcomes = new Set<boolean>()
    while (!outcomes.has(false)) {
      let isSame = true
      const exchange = hybridExchange({
        encode: (secret) => {
          const asInteger = new Writer().mpint(secret).build()
          isSame = asInteger.equals(new Writer().string(secret).build())
          return asInteger
        },
      })
      const outcome = await derive(exchange)
      expect(outcome).toEqual({ signed: isSame, sealed: isSame })
      outcomes.add(isSame)
    }
  })

  test.each([
    ['in the other order', (quantum: Buffer, classical: Buffer) => [classical, quantum]],
    ['without the half of ML-KEM', (_: Buffer, classical: Buffer) => [classical]],
    ['without the half of X25519', (quantum: Buffer) => [quantum]],
  ])('is not made %s (control)', async (_, parts) => {
    const exchange = hybridExchange({
      combine: (...halves) =>
        createHash('sha256')
          .update(Buffer.concat(parts(...halves)))
          .digest(),
    })
    expect(await derive(exchange)).toEqual({ signed: false, sealed: false })
  })
})

describe('attack: our server ends in good order for', () => {
  const { mine } = hybridExchange()

  test('a public value as it should be (control: it goes on)', async () => {
    expect(await answerTo(mine)).toBe('goes on')
  })

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['X25519 only', x25519Exchange().mine],
    ['ML-KEM only', mine.subarray(0, keyBytes)],
    ['a byte too few', mine.subarray(0, -1)],
    ['a byte too many', Buffer.concat([mine, Buffer.of(0)])],
    ['what a server would send', Buffer.alloc(ciphertextBytes + 32, 9)],
    ['as much as a packet holds', Buffer.alloc(32_000, 9)],
  ])('%s', async (_, publicValue) => {
    expect(await answerTo(publicValue)).toBe(`disconnect ${exchangeFailed}`)
  })

  test.each(lowOrder)('an X25519 point of low order: %s', async (_, point) => {
    const publicValue = splice(mine, keyBytes, Buffer.from(point, 'hex'))
    expect(await answerTo(publicValue)).toBe(`disconnect ${exchangeFailed}`)
  })

  test('a key of ML-KEM whose numbers are out of range', async () => {
    // FIPS 203 section 7.2: twelve bits each, and all below 3329.
    const publicValue = splice(mine, 0, Buffer.from('010d', 'hex'))
    expect(await answerTo(publicValue)).toBe(`disconnect ${exchangeFailed}`)
    expect(await answerTo(splice(mine, 0, Buffer.from('000d', 'hex')))).toBe('goes on')
  })
})

describe('attack: our client ends in good order for', () => {
  /** What becomes of a login when the server's public value is this. */
  async function login(edit: (publicValue: Buffer) => Buffer) {
    const tap = openTap((from, payload) => {
      if (from !== 'server' || payload[0] !== msg.kexReply) return payload
      const reader = new Reader(payload)
      reader.u8()
      const [hostKey, theirs, signature] = [reader.string(), reader.string(), reader.string()]
      return new Writer()
        .u8(msg.kexReply)
        .string(hostKey)
        .string(edit(theirs))
        .string(signature)
        .build()
    })
    void serveOn(tap.server)
    const outcome = await connectOn(tap.client).then(
      (connection) => {
        connection.destroy()
        return 'logged in'
      },
      (err: Error & { code?: string }) =>
        `${err.code}: ${err.cause instanceof Error ? err.cause.message : ''}`,
    )
    const last = tap.seen.findLast(({ from }) => from === 'client')?.payload
    return { outcome, reason: last?.[0] === msg.disconnect ? last.readUInt32BE(1) : undefined }
  }
  const refused = (why: RegExp) => ({
    outcome: expect.stringMatching(why),
    reason: exchangeFailed,
  })
  const wrongLength = refused(/^ERR_UPSTREAM_PROTOCOL: .*Wrong length/)

  test('nothing, when nothing is wrong (control)', async () => {
    expect((await login((same) => same)).outcome).toBe('logged in')
  })

  test.each([
    ['nothing', () => Buffer.alloc(0)],
    ['X25519 only', (value: Buffer) => value.subarray(ciphertextBytes)],
    ['ML-KEM only', (value: Buffer) => value.subarray(0, ciphertextBytes)],
    ['a byte too few', (value: Buffer) => value.subarray(0, -1)],
    ['a byte too many', (value: Buffer) => Buffer.concat([value, Buffer.of(0)])],
    ['what a client would send', () => hybridExchange().mine],
  ])('%s', async (_, edit) => {
    expect(await login(edit)).toEqual(wrongLength)
  })

  test.each(lowOrder)('an X25519 point of low order: %s', async (_, point) => {
    const outcome = await login((value) =>
      splice(value, ciphertextBytes, Buffer.from(point, 'hex')),
    )
    expect(outcome).toEqual(refused(/^ERR_UPSTREAM_PROTOCOL: .*derivation/))
  })

  test('a ciphertext with one bit turned: ML-KEM makes another secret of it', async () => {
    const outcome = await login((value) => splice(value, 5, Buffer.of(value.readUInt8(5) ^ 1)))
    expect(outcome).toEqual(refused(/^ERR_UPSTREAM_PROTOCOL: .*signature verification failed/))
  })
})

test('keys are exchanged anew so, by either side', async () => {
  const ssh2 = loadSsh2(createRequire(import.meta.url).resolve('ssh2'))
  const [ours, theirs] = duplexPair()
  const { promise, resolve } = Promise.withResolvers<{ _protocol: { rekey(): void } }>()
  const server = new ssh2.Server({ hostKeys: makeHostKeys() }, (incoming) => {
    incoming.on('error', () => {})
    incoming.on('authentication', (request) => request.accept())
    incoming.on('ready', () => resolve(incoming as never))
  })
  server.injectSocket(ours)
  const client = new ssh2.Client()
  const exchanges: string[] = []
  client.on('handshake', (...[{ kex }]: [{ kex: string }]) => exchanges.push(kex))
  client.connect({
    sock: theirs,
    username: 'somebody',
    // Later, as on a network: this wire hands on at once, in the middle of what the other side does.
    hostVerifier: (_key: Buffer, answer: (accepted: boolean) => void) => {
      setImmediate(answer, true)
    },
  })
  const incoming = await promise
  for (const side of [incoming, client as never as typeof incoming]) {
    const done = once(client as never, 'handshake')
    side._protocol.rekey()
    await done
  }
  expect(exchanges).toEqual([name, name, name])
  theirs.destroy()
})
