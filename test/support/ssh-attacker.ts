import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { Reader, Writer } from '../../src/ssh/wire.ts'
import { type Exchange, x25519Exchange } from './ssh-exchange.ts'
import { deriveKeys, msg, RawPeer, sha256 } from './ssh-raw-peer.ts'

export { msg } from './ssh-raw-peer.ts'

interface Opening {
  readonly kex?: readonly string[]
  readonly hostKeys?: readonly string[]
  /** Says that a guess of the key exchange follows. */
  readonly guess?: boolean
  readonly compression?: string
}

/** What a server proves itself with, for those who want to look. */
export interface HostProof {
  readonly hostKey: Buffer
  readonly exchangeHash: Buffer
  readonly signature: Buffer
}

/** The client's side of SSH, written from the papers. It believes every server. */
export class Attacker extends RawPeer {
  sessionId: Buffer = Buffer.alloc(0)
  hostProof: HostProof | undefined
  readonly #ident: string

  constructor(stream: Duplex, ident = 'SSH-2.0-attacker') {
    super(stream)
    this.#ident = ident
  }

  sendIdent(): void {
    this.write(`${this.#ident}\r\n`)
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

  sendKexInit(opening?: Opening): Buffer {
    const built = this.makeKexInit(opening)
    this.send(built)
    return built
  }

  makeKexInit({ kex, hostKeys, guess = false, compression = 'none' }: Opening = {}): Buffer {
    const payload = new Writer()
      .u8(msg.kexInit)
      .bytes(randomBytes(16))
      .text((kex ?? ['curve25519-sha256', 'ext-info-c']).join(','))
      .text((hostKeys ?? ['ssh-ed25519']).join(','))
    for (const list of ['aes128-gcm@openssh.com', 'hmac-sha2-256', compression, '']) {
      payload.text(list).text(list)
    }
    return payload.boolean(guess).u32(0).build()
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
      .text(this.#ident)
      .text(this.peerIdent ?? '')
      .string(clientInit)
      .string(serverInit)
      .string(hostKey)
      .string(exchange.mine)
      .string(theirs)
      .bytes(shared)
    const exchangeHash = sha256(transcript.build())
    if (since === 0) this.sessionId = exchangeHash
    this.hostProof = { hostKey, exchangeHash, signature }
    await this.first(msg.newKeys, since)
    this.send(Buffer.from([msg.newKeys]))
    this.useKeys(deriveKeys('client', shared, exchangeHash, this.sessionId))
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
