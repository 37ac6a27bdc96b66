import { createCipheriv, createDecipheriv, createHash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { Writer } from '../../src/ssh/wire.ts'

/** Numbers of messages: RFC 4253, 4252 and 4254. */
export const msg = {
  disconnect: 1,
  serviceRequest: 5,
  serviceAccept: 6,
  extInfo: 7,
  kexInit: 20,
  newKeys: 21,
  kexInitiate: 30,
  kexReply: 31,
  authRequest: 50,
  authFailure: 51,
  authSuccess: 52,
  /** PK_OK, or whatever else the method makes of it. */
  authMethod60: 60,
  authInfoResponse: 61,
  globalRequest: 80,
} as const

/** How packets leave, and how they are read. */
export interface PacketKeys {
  readonly seal: (payload: Uint8Array) => Buffer
  readonly open: (buffer: Buffer) => Opened | undefined
}

/**
 * One side of SSH that sends what it is told to, in what order and in whichever pieces. Knows
 * AES-128-GCM, and looks at nothing that it gets.
 */
export class RawPeer {
  /** Every message that came, in order. */
  readonly received: Buffer[] = []
  readonly closed: Promise<void>
  /** How the other side calls itself. */
  peerIdent: string | undefined
  readonly #closing = Promise.withResolvers<void>()
  readonly #stream: Duplex
  readonly #waiting = new Set<() => void>()
  #buffer = Buffer.alloc(0)
  #seal = sealPlain
  #open = openPlain
  /** For what comes behind their NEWKEYS. */
  #openNext: PacketKeys['open'] | undefined
  #isBetweenKeys = false
  #ended = false
  /** Why what came could not be opened. */
  #unreadable: unknown

  constructor(stream: Duplex) {
    this.#stream = stream
    this.closed = this.#closing.promise
    const ended = () => this.#end()
    stream.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk])
      this.#parse()
      this.#wake()
    })
    stream.on('error', ended).on('end', ended).on('close', ended)
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Bytes as they are. */
  write(bytes: Uint8Array | string): void {
    this.#stream.write(bytes)
  }

  /** All of these in one piece. */
  send(...payloads: readonly Uint8Array[]): void {
    this.write(Buffer.concat(payloads.map((payload) => this.#seal(payload))))
  }

  end(): void {
    this.#stream.end()
  }

  /** Reads no further. */
  stop(): void {
    this.#stream.pause()
  }

  /** The first message of this number, which may have come already; or the first since then. */
  async first(type: number, since = 0): Promise<Buffer> {
    const found = await this.until(() =>
      this.received.find((payload, index) => index >= since && payload[0] === type),
    )
    if (found !== undefined) return found
    throw this.#unreadable ?? new Error(`the other side left without a message ${type}`)
  }

  /** Undefined once the other side has left. */
  async until<T>(look: () => T | undefined): Promise<T | undefined> {
    for (;;) {
      const found = look()
      if (found !== undefined || this.#ended) return found
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  /** The reason of the other side's DISCONNECT, or undefined when it left without one. */
  async disconnectReason(): Promise<number | undefined> {
    const payload = await this.until(() => this.received.find(([type]) => type === msg.disconnect))
    return payload?.readUInt32BE(1)
  }

  /** From now on: for what is sent, and for what came behind the other side's NEWKEYS. */
  protected useKeys({ seal, open }: PacketKeys): void {
    this.#seal = seal
    this.#openNext = open
    this.#parse()
    this.#wake()
    if (this.#unreadable !== undefined) throw this.#unreadable
  }

  #parse(): void {
    if (this.peerIdent === undefined) {
      const end = this.#buffer.indexOf('\r\n')
      if (end === -1) return
      this.peerIdent = this.#buffer.toString('latin1', 0, end)
      this.#buffer = this.#buffer.subarray(end + 2)
    }
    for (;;) {
      if (this.#isBetweenKeys) {
        // What follows is sealed with keys that we may not have yet.
        if (this.#openNext === undefined) return
        this.#open = this.#openNext
        this.#openNext = undefined
        this.#isBetweenKeys = false
      }
      let opened: Opened | undefined
      try {
        opened = this.#open(this.#buffer)
      } catch (err) {
        // Under keys that we do not know, as after an exchange that was never meant to end well.
        this.#unreadable = err
        this.#stream.destroy()
        this.#end()
        return
      }
      if (opened === undefined) return
      this.received.push(opened.payload)
      this.#isBetweenKeys = opened.payload[0] === msg.newKeys
      this.#buffer = this.#buffer.subarray(opened.size)
    }
  }

  #end(): void {
    this.#ended = true
    this.#closing.resolve()
    this.#wake()
  }

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const resolve of waiting) resolve()
  }
}

/** The letters of RFC 4253 section 7.2 by the side that sends. */
const letters = {
  client: { sends: ['C', 'A'], receives: ['D', 'B'] },
  server: { sends: ['D', 'B'], receives: ['C', 'A'] },
} as const

/** The keys of a side. The session's id is the hash of its first exchange. */
export function deriveKeys(
  side: 'client' | 'server',
  shared: Buffer,
  exchangeHash: Buffer,
  sessionId = exchangeHash,
): PacketKeys {
  const derive = (letter: string, bytes: number) =>
    sha256(shared, exchangeHash, Buffer.from(letter), sessionId).subarray(0, bytes)
  const { sends, receives } = letters[side]
  return {
    seal: sealer(derive(sends[0], 16), derive(sends[1], 12)),
    open: opener(derive(receives[0], 16), derive(receives[1], 12)),
  }
}

/** A packet of RFC 4253 section 6 before it is sealed. */
export function frame(payload: Uint8Array, lengthCounts: number, block: number): Buffer {
  const least = lengthCounts + 1 + payload.length + 4
  const padding = 4 + ((block - (least % block)) % block)
  return new Writer()
    .u32(1 + payload.length + padding)
    .u8(padding)
    .bytes(payload)
    .bytes(Buffer.alloc(padding))
    .build()
}

function sealPlain(payload: Uint8Array): Buffer {
  return frame(payload, 4, 8)
}

/** A payload, and how long its packet was. */
export interface Opened {
  readonly payload: Buffer
  readonly size: number
}

function openPlain(buffer: Buffer): Opened | undefined {
  if (buffer.length < 4) return undefined
  const length = buffer.readUInt32BE(0)
  if (buffer.length < 4 + length) return undefined
  return { payload: unpad(buffer.subarray(4, 4 + length)), size: 4 + length }
}

function unpad(packet: Buffer): Buffer {
  return packet.subarray(1, packet.length - packet.readUInt8(0))
}

function sealer(key: Buffer, iv: Buffer): (payload: Uint8Array) => Buffer {
  const nonce = counter(iv)
  return (payload) => {
    const plain = frame(payload, 0, 16)
    const cipher = createCipheriv('aes-128-gcm', key, nonce())
    cipher.setAAD(plain.subarray(0, 4))
    const sealed = [plain.subarray(0, 4), cipher.update(plain.subarray(4)), cipher.final()]
    return Buffer.concat([...sealed, cipher.getAuthTag()])
  }
}

function opener(key: Buffer, iv: Buffer): (buffer: Buffer) => Opened | undefined {
  const nonce = counter(iv)
  return (buffer) => {
    if (buffer.length < 4) return undefined
    const length = buffer.readUInt32BE(0)
    const size = 4 + length + 16
    if (buffer.length < size) return undefined
    const decipher = createDecipheriv('aes-128-gcm', key, nonce())
    decipher.setAAD(buffer.subarray(0, 4)).setAuthTag(buffer.subarray(4 + length, size))
    const packet = Buffer.concat([
      decipher.update(buffer.subarray(4, 4 + length)),
      decipher.final(),
    ])
    return { payload: unpad(packet), size }
  }
}

/** RFC 5647: the last eight bytes count packets. */
function counter(iv: Buffer): () => Buffer {
  let count = iv.readBigUInt64BE(4)
  return () => {
    const nonce = Buffer.from(iv)
    nonce.writeBigUInt64BE(count, 4)
    count = BigInt.asUintN(64, count + 1n)
    return nonce
  }
}

/** SHA-256 over all of these. */
export function sha256(...parts: readonly Buffer[]): Buffer {
  return createHash('sha256').update(Buffer.concat(parts)).digest()
}
