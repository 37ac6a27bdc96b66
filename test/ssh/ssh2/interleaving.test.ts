import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeStockSsh2, type StockSsh2 } from '../../support/ssh2-stock.ts'

// An inner connection sends while the write of an outer one is still underway: `ssh -J`. Whatever the
// order, the bytes of each connection must be those that it would have sent alone.

interface Cipher {
  outSeqno: number
  allocPacket(payloadBytes: number): Buffer
  encrypt(packet: Buffer): void
}

interface Decipher {
  decrypt(data: Buffer, from: number, to: number): unknown
}

interface Crypto {
  readonly bindingAvailable: boolean
  readonly init: Promise<void>
  readonly CIPHER_INFO: Record<string, { keyLen: number; ivLen: number; authLen: number }>
  readonly MAC_INFO: Record<string, { len: number }>
  readonly NullCipher: new (seqno: number, onWrite: (bytes: Uint8Array) => void) => Cipher
  readonly NullDecipher: new (seqno: number, onPayload: (payload: Buffer) => void) => Decipher
  createCipher(config: object): Cipher
  createDecipher(config: object): Decipher
}

interface Algorithm {
  readonly cipher: string
  readonly mac?: string
}

/** All that we offer, with what only older servers and stock clients take. */
const algorithms: readonly Algorithm[] = [
  { cipher: 'none' },
  { cipher: 'chacha20-poly1305@openssh.com' },
  { cipher: 'aes128-gcm@openssh.com' },
  { cipher: 'aes256-gcm@openssh.com' },
  { cipher: 'aes128-ctr', mac: 'hmac-sha2-256-etm@openssh.com' },
  { cipher: 'aes256-ctr', mac: 'hmac-sha2-512-etm@openssh.com' },
  { cipher: 'aes128-ctr', mac: 'hmac-sha2-256' },
  { cipher: 'aes256-ctr', mac: 'hmac-sha2-512' },
  { cipher: 'aes192-ctr', mac: 'hmac-sha1-96' },
  { cipher: 'aes256-cbc', mac: 'hmac-sha2-256' },
]

type Implementation = 'javascript' | 'native'

/** The largest is a packet of channel data, which is made in memory that is used again. */
const payloadBytes = [1, 8, 11, 27, 200, 1, 16_400, 5, 32_768, 64, 32_768, 3]
const connectionCount = 6
/** None of the sizes of a packet's parts, so that pieces end in all of them. */
const chunkBytes = [3, 1, 1021, 4096, 15, 33_000, 2]

/** Bytes that are told from all others, the same in each run. */
function bytesFor(label: string, length: number): Buffer {
  return createHash('shake256', { outputLength: Math.max(length, 1) })
    .update(label)
    .digest()
    .subarray(0, length)
}

function keysFor(crypto: Crypto, { cipher, mac }: Algorithm, connection: number) {
  const info = crypto.CIPHER_INFO[cipher]
  const macInfo = mac === undefined ? undefined : crypto.MAC_INFO[mac]
  return {
    info,
    macInfo,
    key: bytesFor(`key ${connection}`, info?.keyLen ?? 0),
    iv: () => bytesFor(`iv ${connection}`, info?.ivLen ?? 0),
    macKey: bytesFor(`mac ${connection}`, macInfo?.len ?? 0),
  }
}

interface Side {
  readonly crypto: Crypto
  readonly algorithm: Algorithm
  readonly implementation: Implementation
  readonly connection: number
}

function makeCipher(side: Side, onWrite: (bytes: Uint8Array) => void): Cipher {
  const { crypto, algorithm, implementation, connection } = side
  const seqno = 1000 * connection
  if (algorithm.cipher === 'none') return new crypto.NullCipher(seqno, onWrite)
  const { info, macInfo, key, iv, macKey } = keysFor(crypto, algorithm, connection)
  return crypto.createCipher({
    outbound: {
      seqno,
      onWrite,
      cipherInfo: info,
      cipherKey: key,
      cipherIV: iv(),
      macInfo,
      macKey,
      forceNative: implementation === 'javascript',
    },
  })
}

function makeDecipher(side: Side, onPayload: (payload: Buffer) => void): Decipher {
  const { crypto, algorithm, implementation, connection } = side
  const seqno = 1000 * connection
  if (algorithm.cipher === 'none') return new crypto.NullDecipher(seqno, onPayload)
  const { info, macInfo, key, iv, macKey } = keysFor(crypto, algorithm, connection)
  return crypto.createDecipher({
    inbound: {
      seqno,
      onPayload,
      decipherInfo: info,
      decipherKey: key,
      decipherIV: iv(),
      macInfo,
      macKey,
      forceNative: implementation === 'javascript',
    },
  })
}

/** A packet of the connection's, with nothing random in it. */
function makePacket(cipher: Cipher, connection: number, index: number): Buffer {
  const length = payloadBytes[index] ?? 0
  const packet = cipher.allocPacket(length)
  packet.set(bytesFor(`payload ${connection} ${index}`, length), 5)
  packet.fill(0, 5 + length, 4 + packet.readUInt32BE(0))
  return packet
}

/** One connection's traffic: what it sent, and what it read of what the other side sent. */
class Traffic {
  readonly sent: Buffer[] = []
  readonly read: Buffer[] = []
  readonly #cipher: Cipher
  readonly #decipher: Decipher
  readonly #connection: number
  readonly #incoming: Buffer
  #packets = 0
  #taken = 0
  #chunks = 0
  /** A connection is not read, and not written to, from within its own read or write. */
  #busyWriting = false
  #busyReading = false

  constructor(side: Side, incoming: Buffer, boundary: () => void) {
    this.#connection = side.connection
    this.#incoming = incoming
    this.#cipher = makeCipher(side, (bytes) => {
      this.sent.push(Buffer.from(bytes))
      boundary()
    })
    this.#decipher = makeDecipher(side, (payload) => {
      this.read.push(Buffer.from(payload))
      boundary()
    })
  }

  /** Sends the next packet, if there is one and it may. */
  write(): boolean {
    if (this.#busyWriting || this.#packets === payloadBytes.length) return false
    this.#busyWriting = true
    const packet = makePacket(this.#cipher, this.#connection, this.#packets++)
    this.#cipher.encrypt(packet)
    this.#busyWriting = false
    return true
  }

  /** Reads the next piece, if there is one and it may. */
  take(): boolean {
    if (this.#busyReading || this.#taken === this.#incoming.length) return false
    this.#busyReading = true
    const size = chunkBytes[this.#chunks++ % chunkBytes.length] ?? 1
    // A copy: ciphers of the binding decrypt in place.
    const piece = Buffer.from(this.#incoming.subarray(this.#taken, this.#taken + size))
    this.#taken += piece.length
    this.#decipher.decrypt(piece, 0, piece.length)
    this.#busyReading = false
    return true
  }
}

type Offer = Omit<Side, 'connection'>

function aloneBytes(offer: Offer, connection: number): Buffer {
  const sent: Buffer[] = []
  const cipher = makeCipher({ ...offer, connection }, (bytes) => sent.push(Buffer.from(bytes)))
  for (const index of payloadBytes.keys()) cipher.encrypt(makePacket(cipher, connection, index))
  return Buffer.concat(sent)
}

/** Runs every connection inside the writes and reads of the others, and gives the traffic of each. */
function interleave(offer: Offer): readonly Traffic[] {
  const connections = [...Array(connectionCount).keys()]
  let turn = 0
  const boundary = () => {
    // The next one, so that connections nest as deep as there are some that are not busy.
    for (let tries = 0; tries < 2 * connectionCount; tries++) {
      const traffic = all[turn++ % connectionCount]
      if (turn % 2 === 0 ? traffic?.write() : traffic?.take()) return
    }
  }
  const all = connections.map(
    (connection) => new Traffic({ ...offer, connection }, aloneBytes(offer, connection), boundary),
  )
  for (let isMoving = true; isMoving; ) {
    isMoving = false
    for (const traffic of all) {
      if (traffic.write()) isMoving = true
      if (traffic.take()) isMoving = true
    }
  }
  return all
}

function expectSameAsAlone(offer: Offer): void {
  for (const [connection, { sent, read }] of interleave(offer).entries()) {
    expect(Buffer.concat(sent).equals(aloneBytes(offer, connection))).toBe(true)
    expect(read).toHaveLength(payloadBytes.length)
    for (const [index, payload] of read.entries()) {
      expect(
        payload.equals(bytesFor(`payload ${connection} ${index}`, payloadBytes[index] ?? 0)),
      ).toBe(true)
    }
  }
}

const load = createRequire(import.meta.url)
const ours: Crypto = load('ssh2/lib/protocol/crypto.js')
const implementations: readonly Implementation[] = ours.bindingAvailable
  ? ['javascript', 'native']
  : ['javascript']
const nameOf = ({ cipher, mac }: Algorithm) => (mac === undefined ? cipher : `${cipher} ${mac}`)
const cases = implementations.flatMap((implementation) =>
  algorithms.map((algorithm) => ({ implementation, algorithm, name: nameOf(algorithm) })),
)

beforeAll(() => ours.init)

describe.each(cases)('$name in $implementation', ({ implementation, algorithm }) => {
  const offer = { crypto: ours, implementation, algorithm }
  const side = { ...offer, connection: 1 }

  test('sends and reads in the midst of other connections what it would alone', () => {
    expectSameAsAlone(offer)
  })

  test('hands each packet on in one piece', () => {
    let writes = 0
    const cipher = makeCipher(side, () => writes++)
    for (const index of payloadBytes.keys()) cipher.encrypt(makePacket(cipher, 1, index))
    expect(writes).toBe(payloadBytes.length)
  })

  test('uses no packet number twice when its write sends again', () => {
    const sent: Buffer[] = []
    let next = 0
    const send = () => {
      if (next < payloadBytes.length) cipher.encrypt(makePacket(cipher, 1, next++))
    }
    const cipher = makeCipher(side, (bytes) => {
      sent.push(Buffer.from(bytes))
      send()
    })
    send()
    expect(Buffer.concat(sent).equals(aloneBytes(offer, 1))).toBe(true)
  })

  test('uses no packet number twice when its write fails', () => {
    const sent: Buffer[] = []
    const cipher = makeCipher(side, (bytes) => {
      sent.push(Buffer.from(bytes))
      throw new Error('nobody takes it')
    })
    for (const index of payloadBytes.keys()) {
      const packet = makePacket(cipher, 1, index)
      expect(() => cipher.encrypt(packet)).toThrow('nobody takes it')
    }
    expect(Buffer.concat(sent).equals(aloneBytes(offer, 1))).toBe(true)
  })
})

test
  .runIf(ours.bindingAvailable)
  .each(algorithms.map((algorithm) => ({ algorithm, name: nameOf(algorithm) })))(
  '$name sends the same bytes in JavaScript as native',
  ({ algorithm }) => {
    const javascript = aloneBytes({ crypto: ours, algorithm, implementation: 'javascript' }, 2)
    const native = aloneBytes({ crypto: ours, algorithm, implementation: 'native' }, 2)
    expect(javascript.equals(native)).toBe(true)
  },
)

describe('control: stock ssh2', () => {
  let stock: StockSsh2
  let theirs: Crypto
  const chacha = { cipher: 'chacha20-poly1305@openssh.com' }

  beforeAll(async () => {
    stock = makeStockSsh2()
    theirs = load(`${stock.path}/lib/protocol/crypto.js`)
    await theirs.init
  })
  afterAll(() => stock.remove())

  test('encrypts with the nonce of another connection', () => {
    const offer: Offer = { crypto: theirs, implementation: 'javascript', algorithm: chacha }
    expect(() => expectSameAsAlone(offer)).toThrow()
  })

  test('uses a packet number twice when its write fails', () => {
    const side: Side = {
      crypto: theirs,
      implementation: 'javascript',
      algorithm: chacha,
      connection: 1,
    }
    const cipher = makeCipher(side, () => {
      throw new Error('nobody takes it')
    })
    expect(() => cipher.encrypt(makePacket(cipher, 1, 0))).toThrow('nobody takes it')
    expect(cipher.outSeqno).toBe(1000)
  })
})
