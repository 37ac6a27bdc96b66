import {
  createPublicKey,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  randomBytes,
  sign,
} from 'node:crypto'
import type { Duplex } from 'node:stream'
import { publicKeyBlob } from '../../src/ssh/index.ts'
import { Reader, Writer } from '../../src/ssh/wire.ts'
import { frame, msg, sha256 } from './ssh-raw-peer.ts'

const ident = 'SSH-2.0-impostor'
const kemKeyBytes = 1184

interface Opening {
  readonly kex: readonly string[]
  readonly hostKeys?: readonly string[]
  /** Says that a guess of the key exchange follows. */
  readonly guess?: boolean
  /** The guess. */
  readonly guessed?: Buffer
}

/**
 * The server's side of a key exchange, written from the papers. Resolves with true once the client has
 * taken new keys, and with false when it leaves instead.
 */
export async function serveExchange(stream: Duplex, opening: Opening): Promise<boolean> {
  const { kex, hostKeys = ['ssh-ed25519'], guess = false, guessed } = opening
  const read = reader(stream)
  stream.write(`${ident}\r\n`)
  const init = new Writer()
    .u8(msg.kexInit)
    .bytes(randomBytes(16))
    .text(kex.join(','))
    .text(hostKeys.join(','))
  for (const list of ['aes128-gcm@openssh.com', 'hmac-sha2-256', 'none', '']) {
    init.text(list).text(list)
  }
  const serverInit = init.boolean(guess).u32(0).build()
  stream.write(plain(serverInit))
  if (guessed !== undefined) stream.write(plain(guessed))

  const clientIdent = await read.line()
  const clientInit = await read.payload()
  const initiate = await read.payload()
  if (clientIdent === undefined || clientInit === undefined || initiate === undefined) return false
  const fields = new Reader(initiate)
  fields.u8()
  const theirs = fields.string()
  const { mine, shared } = agree(theirs)
  const { privateKey } = generateKeyPairSync('ed25519')
  const hostKey = publicKeyBlob(privateKey)
  const hashed = new Writer()
    .text(clientIdent)
    .text(ident)
    .string(clientInit)
    .string(serverInit)
    .string(hostKey)
    .string(theirs)
    .string(mine)
    .bytes(shared)
    .build()
  const signature = new Writer()
    .text('ssh-ed25519')
    .string(sign(null, sha256(hashed), privateKey))
    .build()
  const reply = new Writer().u8(msg.kexReply).string(hostKey).string(mine).string(signature)
  stream.write(plain(reply.build()))
  stream.write(plain(Buffer.from([msg.newKeys])))
  return (await read.payload())?.[0] === msg.newKeys
}

/** By what the client sent: X25519 alone, or behind ML-KEM. */
function agree(theirs: Buffer): { mine: Buffer; shared: Buffer } {
  const classical = theirs.subarray(-32)
  const pair = generateKeyPairSync('x25519')
  const point = Buffer.from(String(pair.publicKey.export({ format: 'jwk' }).x), 'base64url')
  const jwk = { kty: 'OKP', crv: 'X25519', x: classical.toString('base64url') }
  const publicKey = createPublicKey({ key: jwk, format: 'jwk' })
  const secret = diffieHellman({ privateKey: pair.privateKey, publicKey })
  if (theirs.length === 32) return { mine: point, shared: new Writer().mpint(secret).build() }
  const spki = Buffer.concat([
    Buffer.from('308204b2300b0609608648016503040402038204a100', 'hex'),
    theirs.subarray(0, kemKeyBytes),
  ])
  const sealed = encapsulate(createPublicKey({ key: spki, format: 'der', type: 'spki' }))
  return {
    mine: Buffer.concat([sealed.ciphertext, point]),
    shared: new Writer().string(sha256(Buffer.concat([sealed.sharedKey, secret]))).build(),
  }
}

/** One line, and then packets that are not sealed; undefined at the end. */
function reader(stream: Duplex) {
  let buffer = Buffer.alloc(0)
  let isOver = false
  let wake = () => {}
  stream.on('data', (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk])
    wake()
  })
  const ended = () => {
    isOver = true
    wake()
  }
  stream.on('end', ended).on('close', ended).on('error', ended)
  const take = async (size: () => number | undefined): Promise<Buffer | undefined> => {
    for (;;) {
      const bytes = size()
      if (bytes !== undefined && buffer.length >= bytes) {
        const taken = buffer.subarray(0, bytes)
        buffer = buffer.subarray(bytes)
        return taken
      }
      if (isOver) return undefined
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return {
    async line(): Promise<string | undefined> {
      const line = await take(() => {
        const end = buffer.indexOf('\r\n')
        return end === -1 ? undefined : end + 2
      })
      return line?.toString('latin1').slice(0, -2)
    },
    async payload(): Promise<Buffer | undefined> {
      const packet = await take(() => (buffer.length < 4 ? undefined : 4 + buffer.readUInt32BE(0)))
      return packet?.subarray(5, packet.length - packet.readUInt8(4))
    },
  }
}

function plain(payload: Uint8Array): Buffer {
  return frame(payload, 4, 8)
}
