import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { Reader, Writer } from '../../src/ssh/wire.ts'
import { type Exchange, x25519Exchange } from './ssh-exchange.ts'

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

const ident = 'SSH-2.0-attacker'

interface Opening {
  readonly kex?: readonly string[]
  readonly hostKeys?: readonly string[]
  /** Says that a guess of the key exchange follows. */
  readonly guess?: boolean
}

/** What a server proves itself with, for those who want to look. */
export interface HostProof {
  readonly hostKey: Buffer
  readonly exchangeHash: Buffer
  readonly signature: Buffer
}

/**
 * The client's side of SSH, written from the papers: it sends what it is told to, in what order and
 * in whichever pieces. Knows AES-128-GCM, and believes every server.
 */
export class Attacker {
  /** Every message that came, in order. */
  readonly received: Buffer[] = []
  readonly closed: Promise<void>
  sessionId: Buffer = Buffer.alloc(0)
  hostProof: HostProof | undefined
  readonly #stream: Duplex
  readonly #waiting = new Set<() => void>()
  #buffer = Buffer.alloc(0)
  #serverIdent: string | undefined
  #seal = sealPlain
  #open = openPlain
  #isBetweenKeys = false
  #ended = false

  constructor(stream: Duplex) {
    this.#stream = stream
    const { promise, resolve } = Promise.withResolvers<void>()
    this.closed = promise
    const ended = () => {
      this.#ended = true
      resolve()
      this.#wake()
    }
    stream.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk])
      this.#parse()
      this.#wake()
    })
    stream.on('error', ended).on('end', ended).on('close', ended)
  }

  /** Bytes as they are. */
  write(bytes: Uint8Array | string): void {
    this.#stream.write(bytes)
  }

  sendIdent(): void {
    this.write(`${ident}\r\n`)
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
    if (found === undefined) throw new Error(`the server left without a message ${type}`)
    return found
  }

  /** Undefined once the server has left. */
  async until<T>(look: () => T | undefined): Promise<T | undefined> {
    for (;;) {
      const found = look()
      if (found !== undefined || this.#ended) return found
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  /** The reason of the server's DISCONNECT, or undefined when it left without one. */
  async disconnectReason(): Promise<number | undefined> {
    const payload = await this.until(() => this.received.find(([type]) => type === msg.disconnect))
    return payload?.readUInt32BE(1)
  }

  async handshake(opening?: Opening, exchange?: Exchange): Promise<void> {
    this.sendIdent()
    const init = this.sendKexInit(opening)
    await this.finishHandshake(init, this.sendKexInitiate(exchange))
  }

  /** Exchanges keys anew. */
  async rekey(): Promise<void> {
    const since = this.received.length
    const init = this.sendKexInit({ kex: ['curve25519-sha256'] })
    await this.finishHandshake(init, this.sendKexInitiate(), since)
  }

  /** Up to where logins begin. */
  async handshakeForLogin(): Promise<void> {
    await this.handshake()
    this.send(new Writer().u8(msg.serviceRequest).text('ssh-userauth').build())
    await this.first(msg.serviceAccept)
  }

  sendKexInit({ kex, hostKeys, guess = false }: Opening = {}): Buffer {
    const payload = new Writer()
      .u8(msg.kexInit)
      .bytes(randomBytes(16))
      .text((kex ?? ['curve25519-sha256', 'ext-info-c']).join(','))
      .text((hostKeys ?? ['ssh-ed25519']).join(','))
    for (const list of ['aes128-gcm@openssh.com', 'hmac-sha2-256', 'none', '']) {
      payload.text(list).text(list)
    }
    const built = payload.boolean(guess).u32(0).build()
    this.send(built)
    return built
  }

  /** Our half of the key exchange. Gives what finishes it. */
  sendKexInitiate(exchange: Exchange = x25519Exchange()): Exchange {
    this.send(new Writer().u8(msg.kexInitiate).string(exchange.mine).build())
    return exchange
  }

  async finishHandshake(clientInit: Buffer, exchange: Exchange, since = 0): Promise<void> {
    const reply = new Reader(await this.first(msg.kexReply, since))
    reply.u8()
    const hostKey = reply.string()
    const theirs = reply.string()
    const signature = reply.string()
    const serverInit = await this.first(msg.kexInit, since)
    const shared = exchange.agree(theirs)
    const transcript = new Writer()
      .text(ident)
      .text(this.#serverIdent ?? '')
      .string(clientInit)
      .string(serverInit)
      .string(hostKey)
      .string(exchange.mine)
      .string(theirs)
      .bytes(shared)
    const exchangeHash = sha256(transcript.build())
    if (since === 0) this.sessionId = exchangeHash
    this.hostProof = { hostKey, exchangeHash, signature }
    const derive = (letter: string) =>
      sha256(shared, exchangeHash, Buffer.from(letter), this.sessionId)
    await this.first(msg.newKeys, since)
    this.send(Buffer.from([msg.newKeys]))
    this.#seal = sealer(derive('C').subarray(0, 16), derive('A').subarray(0, 12))
    this.#open = opener(derive('D').subarray(0, 16), derive('B').subarray(0, 12))
    this.#isBetweenKeys = false
    this.#parse()
  }

  #parse(): void {
    if (this.#serverIdent === undefined) {
      const end = this.#buffer.indexOf('\r\n')
      if (end === -1) return
      this.#serverIdent = this.#buffer.toString('latin1', 0, end)
      this.#buffer = this.#buffer.subarray(end + 2)
    }
    for (;;) {
      // What follows is sealed with keys that we may not have yet.
      if (this.#isBetweenKeys) return
      const opened = this.#open(this.#buffer)
      if (opened === undefined) return
      this.received.push(opened.payload)
      this.#isBetweenKeys = opened.payload[0] === msg.newKeys
      this.#buffer = this.#buffer.subarray(opened.size)
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const resolve of waiting) resolve()
  }
}

/** A USERAUTH_REQUEST: RFC 4252 section 5. */
export function authRequest(user: string, method: string, fields: Uint8Array = Buffer.alloc(0)) {
  return new Writer()
    .u8(msg.authRequest)
    .text(user)
    .text('ssh-connection')
    .text(method)
    .bytes(fields)
    .build()
}

/** The fields of a `publickey` request up to its signature. */
export function publicKeyFields(algorithm: string, key: Uint8Array, signed: boolean): Buffer {
  return new Writer().boolean(signed).text(algorithm).string(key).build()
}

function frame(payload: Uint8Array, lengthCounts: number, block: number): Buffer {
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

interface Opened {
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

function sha256(...parts: readonly Buffer[]): Buffer {
  return createHash('sha256').update(Buffer.concat(parts)).digest()
}
