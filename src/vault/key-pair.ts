import {
  createPublicKey,
  type ED25519KeyPairOptions,
  generateKeyPair,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { type UserSignature, userVerifier, Writer } from '../ssh/index.ts'
import { decodePrivateKeyPem, encodePrivateKeyPem } from './pem.ts'
import { ReadOnce } from './read-once.ts'

/** A fresh key pair. The receiver wipes the private key as soon as it is sealed. */
export interface KeyPair {
  /** PKCS#8 PEM. */
  readonly privateKey: Buffer
  /** As on the wire: RFC 4253 section 6.6, RFC 8709 section 4. */
  readonly publicBlob: Buffer
}

const rsaBits = 4096

// As bytes, never as objects: a KeyObject keeps its private half until it is collected.
const encodings: ED25519KeyPairOptions<'der', 'der'> = {
  publicKeyEncoding: { type: 'spki', format: 'der' },
  privateKeyEncoding: { type: 'pkcs8', format: 'der' },
}

/** Off the main thread: an RSA-4096 key takes a second or more to find. */
export function generateRsaKeyPair(): Promise<KeyPair> {
  const { promise, resolve, reject } = Promise.withResolvers<KeyPair>()
  const options = { modulusLength: rsaBits, publicExponent: 0x10001, ...encodings }
  generateKeyPair('rsa', options, (err, spki, der) =>
    err === null ? resolve(keyPair(rsaBlob(publicKeyIn(spki)), der)) : reject(err),
  )
  return promise
}

export function generateEd25519KeyPair(): Promise<KeyPair> {
  const { promise, resolve, reject } = Promise.withResolvers<KeyPair>()
  generateKeyPair('ed25519', encodings, (err, spki, der) =>
    err === null ? resolve(keyPair(ed25519BlobOf(ed25519In(spki)), der)) : reject(err),
  )
  return promise
}

/** Synchronous: the way to the thread pool would take longer than the key itself. */
export function generateEphemeralKeyPair(): KeyPair {
  const { publicKey: spki, privateKey: der } = generateKeyPairSync('ed25519', encodings)
  return keyPair(ed25519BlobOf(ed25519In(spki)), der)
}

/** The hash of each signature algorithm that the vault signs with: SHA-1 is not among them. */
const rsaHashes: ReadonlyMap<string, string> = new Map([
  ['rsa-sha2-512', 'sha512'],
  ['rsa-sha2-256', 'sha256'],
])

export const rsaAlgorithms: readonly string[] = [...rsaHashes.keys()]

/**
 * Signs on the thread pool and gives the whole RFC 4253 blob: algorithm, then signature. Undefined
 * when the public key does not verify it: the halves are not a pair, or the signature has a fault. A
 * fault in one half of an RSA signature gives the private key away, so it is withheld.
 */
export async function signRsa(
  privateKey: Buffer,
  publicBlob: Buffer,
  data: Buffer,
  algorithm: string,
): Promise<Buffer | undefined> {
  const hash = rsaHashes.get(algorithm)
  if (hash === undefined) throw new TypeError(`no such RSA signature algorithm: ${algorithm}`)
  const bare = await signOnPool(hash, data, privateKey)
  const signed = { algorithm, signature: encode(algorithm, bare), data }
  return verified(storedVerifier(publicBlob), signed)
}

const ed25519 = 'ssh-ed25519'

/** The same with Ed25519, at once: it takes a twentieth of a millisecond, the way to the pool longer. */
export function signEd25519(
  privateKey: Buffer,
  publicBlob: Buffer,
  data: Buffer,
): Buffer | undefined {
  return signEd25519By(storedVerifier(publicBlob), privateKey, data)
}

/** The same with a key that signs once. */
export function signEphemeral(
  privateKey: Buffer,
  publicBlob: Buffer,
  data: Buffer,
): Buffer | undefined {
  return signEd25519By(userVerifier(publicBlob), privateKey, data)
}

function signEd25519By(verify: Verifier, privateKey: Buffer, data: Buffer): Buffer | undefined {
  const der = derOf(privateKey)
  try {
    const bare = sign(null, data, { key: der, ...pkcs8 })
    return verified(verify, { algorithm: ed25519, signature: encode(ed25519, bare), data })
  } finally {
    der.fill(0)
  }
}

/**
 * Whether a private key signs for a public one. The signed bytes are random, and the signature
 * stays here.
 */
export async function arePair(privateKey: Buffer, publicBlob: Buffer): Promise<boolean> {
  const challenge = randomBytes(32)
  const isEd25519 = publicBlob.equals(ed25519BlobOf(ed25519Bytes(publicBlob)))
  const signature = isEd25519
    ? signEd25519(privateKey, publicBlob, challenge)
    : await signRsa(privateKey, publicBlob, challenge, 'rsa-sha2-512')
  return signature !== undefined
}

/** The 64 bytes in the blob of an Ed25519 signature. */
export function bareEd25519(signature: Buffer): Buffer {
  return signature.subarray(-64)
}

/** The 32 bytes in the blob of an Ed25519 key. */
export function ed25519Bytes(publicBlob: Buffer): Buffer {
  return publicBlob.subarray(-32)
}

/** The blob of an Ed25519 key of 32 bytes. */
export function ed25519BlobOf(bytes: Uint8Array): Buffer {
  return new Writer().text(ed25519).string(Buffer.from(bytes)).build()
}

const pkcs8 = { format: 'der', type: 'pkcs8' } as const

/** Takes no KeyObject: OpenSSL reads the key for this signature, and frees it when it is made. */
function signOnPool(hash: string, data: Buffer, privateKey: Buffer): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const der = derOf(privateKey)
  try {
    sign(hash, data, { key: der, ...pkcs8 }, (err, signature) =>
      err === null ? resolve(signature) : reject(err),
    )
  } finally {
    // It was read before the call came back.
    der.fill(0)
  }
  return promise
}

/** The caller wipes it. */
function derOf(privateKey: Buffer): Buffer {
  const der = decodePrivateKeyPem(privateKey)
  if (der === undefined) throw new TypeError('not a private key in PKCS#8 PEM')
  return der
}

type Verifier = ReturnType<typeof userVerifier>

const verifiers = new ReadOnce((blob) => userVerifier(Buffer.from(blob, 'base64')))

function storedVerifier(publicBlob: Buffer): Verifier {
  return verifiers.of(publicBlob.toString('base64'))
}

function verified(verify: Verifier, signed: Omit<UserSignature, 'key'>): Buffer | undefined {
  return verify(signed) ? signed.signature : undefined
}

function encode(algorithm: string, signature: Buffer): Buffer {
  return new Writer().text(algorithm).string(signature).build()
}

function publicKeyIn(spki: Buffer): KeyObject {
  return createPublicKey({ key: spki, format: 'der', type: 'spki' })
}

function rsaBlob(publicKey: KeyObject): Buffer {
  const { e, n } = publicKey.export({ format: 'jwk' })
  if (typeof e !== 'string' || typeof n !== 'string') throw new TypeError('not an RSA key')
  return new Writer()
    .text('ssh-rsa')
    .mpint(Buffer.from(e, 'base64url'))
    .mpint(Buffer.from(n, 'base64url'))
    .build()
}

/** What stands before the 32 bytes of the key: RFC 8410 section 4. */
const ed25519Info = Buffer.from('302a300506032b6570032100', 'hex')

/** The 32 bytes in what was just made. Without a key object: that takes longer than the key itself. */
function ed25519In(spki: Buffer): Buffer {
  const bytes = spki.subarray(ed25519Info.length)
  const info = spki.subarray(0, ed25519Info.length)
  if (!info.equals(ed25519Info) || bytes.length !== 32) throw new TypeError('not an Ed25519 key')
  return bytes
}

function keyPair(publicBlob: Buffer, der: Buffer): KeyPair {
  try {
    return { privateKey: encodePrivateKeyPem(der), publicBlob }
  } finally {
    der.fill(0)
  }
}
