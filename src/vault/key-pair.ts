import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import { Writer } from '../ssh/index.ts'
import { encodePrivateKeyPem } from './pem.ts'

/** A fresh key pair. Who gets it wipes the private key as soon as it is sealed. */
export interface KeyPair {
  /** PKCS#8 PEM. */
  readonly privateKey: Buffer
  readonly publicKey: KeyObject
}

export const rsaBits = 4096

/** Off the main thread: an RSA-4096 key takes a second or more to find. */
export function generateRsaKeyPair(): Promise<KeyPair> {
  const { promise, resolve, reject } = Promise.withResolvers<KeyPair>()
  generateKeyPair('rsa', { modulusLength: rsaBits, publicExponent: 0x10001 }, (err, _, key) =>
    err === null ? resolve(keyPair(key)) : reject(err),
  )
  return promise
}

export function generateEd25519KeyPair(): Promise<KeyPair> {
  const { promise, resolve, reject } = Promise.withResolvers<KeyPair>()
  generateKeyPair('ed25519', undefined, (err, _, key) =>
    err === null ? resolve(keyPair(key)) : reject(err),
  )
  return promise
}

/** The RFC 4253 section 6.6 blob of an RSA key. */
export function rsaBlob(publicKey: KeyObject): Buffer {
  const { e, n } = publicKey.export({ format: 'jwk' })
  if (typeof e !== 'string' || typeof n !== 'string') throw new TypeError('not an RSA key')
  return new Writer()
    .text('ssh-rsa')
    .mpint(Buffer.from(e, 'base64url'))
    .mpint(Buffer.from(n, 'base64url'))
    .build()
}

/** The 32 bytes of an Ed25519 public key. */
export function ed25519Bytes(publicKey: KeyObject): Buffer {
  const { x } = publicKey.export({ format: 'jwk' })
  if (typeof x !== 'string') throw new TypeError('not an Ed25519 key')
  return Buffer.from(x, 'base64url')
}

/** The RFC 8709 blob of an Ed25519 key. */
export function ed25519Blob(publicKey: KeyObject): Buffer {
  return ed25519BlobOf(ed25519Bytes(publicKey))
}

/** The same of the 32 bytes of the key. */
export function ed25519BlobOf(bytes: Uint8Array): Buffer {
  return new Writer().text('ssh-ed25519').string(Buffer.from(bytes)).build()
}

/** The hash of each signature algorithm that the vault signs with: SHA-1 is not among them. */
const rsaHashes: ReadonlyMap<string, string> = new Map([
  ['rsa-sha2-512', 'sha512'],
  ['rsa-sha2-256', 'sha256'],
])

export const rsaAlgorithms: readonly string[] = [...rsaHashes.keys()]

/** Signs on the thread pool and gives the whole RFC 4253 blob: algorithm, then signature. */
export async function signRsa(privateKey: Buffer, data: Buffer, algorithm: string) {
  const hash = rsaHashes.get(algorithm)
  if (hash === undefined) throw new TypeError(`no such RSA signature algorithm: ${algorithm}`)
  const key = createPrivateKey(privateKey)
  const signature = await signOnPool(hash, data, key)
  return { blob: encodeSignature(algorithm, signature), publicBlob: rsaBlob(createPublicKey(key)) }
}

/** Signs at once: it takes a twentieth of a millisecond, and the way to the thread pool longer. */
export function signEd25519(privateKey: Buffer, data: Buffer) {
  const key = createPrivateKey(privateKey)
  const bare = verified(null, data, key, sign(null, data, key))
  return { bare, publicBlob: ed25519Blob(createPublicKey(key)) }
}

/** The whole RFC 8709 signature, by a key that is no stored secret. */
export function signEd25519With(key: KeyObject, data: Buffer): Buffer {
  return encodeSignature('ssh-ed25519', verified(null, data, key, sign(null, data, key)))
}

function signOnPool(hash: string, data: Buffer, key: KeyObject): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  sign(hash, data, key, (err, signature) => {
    if (err !== null) return reject(err)
    try {
      resolve(verified(hash, data, key, signature))
    } catch (fault) {
      reject(fault)
    }
  })
  return promise
}

/** A fault in one half of an RSA signature gives the private key away to whoever sees it. */
function verified(hash: string | null, data: Buffer, key: KeyObject, signature: Buffer): Buffer {
  if (!verify(hash, data, createPublicKey(key), signature)) {
    throw new Error('a signature did not verify and was withheld')
  }
  return signature
}

function encodeSignature(algorithm: string, signature: Buffer): Buffer {
  return new Writer().text(algorithm).string(signature).build()
}

function keyPair(key: KeyObject): KeyPair {
  const der = key.export({ type: 'pkcs8', format: 'der' })
  try {
    return { privateKey: encodePrivateKeyPem(der), publicKey: createPublicKey(key) }
  } finally {
    der.fill(0)
  }
}
