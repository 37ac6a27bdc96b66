import {
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import type { Duplex } from 'node:stream'
import { publicKeyBlob } from '../../src/ssh/index.ts'
import { Reader, Writer } from '../../src/ssh/wire.ts'
import { deriveKeys, msg, type PacketKeys, RawPeer, sha256 } from './ssh-raw-peer.ts'

const ident = 'SSH-2.0-Impostor'

/** What a server sends to end its half of the key exchange. */
export interface KexReply {
  readonly hostKey: Buffer
  readonly publicValue: Buffer
  readonly signature: Buffer
}

/** The server's side of SSH, written from the papers: whoever dials it gets what it is told to send. */
export class Impostor extends RawPeer {
  readonly #hostKey: KeyObject
  #init: Buffer = Buffer.alloc(0)
  #keys: PacketKeys | undefined
  #read = 0

  constructor(stream: Duplex, hostKey: KeyObject) {
    super(stream)
    this.#hostKey = hostKey
  }

  sendIdent(): void {
    this.write(`${ident}\r\n`)
  }

  /** The next message that was not looked at; undefined once the client has left. */
  async next(): Promise<Buffer | undefined> {
    const at = this.#read++
    return this.until(() => this.received[at])
  }

  /** Our KEXINIT, which is hashed as it is given here even when another one is sent. */
  makeKexInit(strict = false): Buffer {
    const payload = new Writer()
      .u8(msg.kexInit)
      .bytes(randomBytes(16))
      .text(strict ? 'curve25519-sha256,kex-strict-s-v00@openssh.com' : 'curve25519-sha256')
      .text('ssh-ed25519')
    for (const list of ['aes128-gcm@openssh.com', 'hmac-sha2-256', 'none', '']) {
      payload.text(list).text(list)
    }
    this.#init = payload.boolean(false).u32(0).build()
    return this.#init
  }

  /** What is due once the client has sent its KEXINIT and its half of the exchange. */
  makeKexReply(clientInit: Buffer, initiate: Buffer): KexReply {
    const theirs = new Reader(initiate.subarray(1)).string()
    const pair = generateKeyPairSync('x25519')
    const publicValue = Buffer.from(String(pair.publicKey.export({ format: 'jwk' }).x), 'base64url')
    const key = { kty: 'OKP', crv: 'X25519', x: theirs.toString('base64url') }
    const secret = diffieHellman({
      privateKey: pair.privateKey,
      publicKey: createPublicKey({ key, format: 'jwk' }),
    })
    const shared = new Writer().mpint(secret).build()
    const hostKey = publicKeyBlob(this.#hostKey)
    const exchangeHash = sha256(
      new Writer()
        .text(this.peerIdent ?? '')
        .text(ident)
        .string(clientInit)
        .string(this.#init)
        .string(hostKey)
        .string(theirs)
        .string(publicValue)
        .bytes(shared)
        .build(),
    )
    this.#keys = deriveKeys('server', shared, exchangeHash)
    const bare = sign(null, exchangeHash, this.#hostKey)
    const signature = new Writer().text('ssh-ed25519').string(bare).build()
    return { hostKey, publicValue, signature }
  }

  /** NEWKEYS, and the new keys from then on. */
  sendNewKeys(): void {
    this.send(Buffer.of(msg.newKeys))
    if (this.#keys !== undefined) this.useKeys(this.#keys)
  }

  /** All of the exchange, as an honest server does it. */
  async handshake(): Promise<void> {
    this.sendIdent()
    this.send(this.makeKexInit())
    const init = await this.next()
    const initiate = await this.next()
    if (init === undefined || initiate === undefined) throw new Error('the client left')
    const { hostKey, publicValue, signature } = this.makeKexReply(init, initiate)
    const reply = new Writer().u8(msg.kexReply).string(hostKey).string(publicValue)
    this.send(reply.string(signature).build())
    this.sendNewKeys()
  }

  /** The client's first request to log in, after all that comes before; undefined when it has left. */
  async loginRequest(): Promise<Buffer | undefined> {
    await this.handshake()
    for (;;) {
      const payload = await this.next()
      if (payload === undefined || payload[0] === msg.authRequest) return payload
      if (payload[0] === msg.serviceRequest) {
        this.send(new Writer().u8(msg.serviceAccept).text('ssh-userauth').build())
      }
    }
  }
}
