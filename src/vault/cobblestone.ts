/**
 * Committing authenticated encryption of one message: C2SP chunked-encryption@v1 in its
 * instantiation Cobblestone-256 (HKDF-Expand-SHA-512, AES-256-GCM, chunks of 16 KiB).
 *
 * AES-GCM alone does not commit to its key: one ciphertext can be made that opens under two keys.
 * Here the commitment is derived beside the key and compared before anything is decrypted.
 */

import { createCipheriv, hash, randomBytes, randomFillSync, timingSafeEqual } from 'node:crypto'

export const keyBytes = 32
export const saltBytes = 24
export const commitmentBytes = 32

/** The block size of SHA-512. */
const blockBytes = 128
const nonceBytes = 12
const tagBytes = 16
const chunkBytes = 16 * 1024
const sealedChunkBytes = chunkBytes + tagBytes

/** Far above any key pair or wrapped key; keeps a wrong length from becoming a wrong allocation. */
export const plaintextBytesMax = 1024 * 1024

/** `salt || commitment || chunks`. The salt is random unless a test vector gives one. */
export function encrypt(
  key: Uint8Array,
  context: Uint8Array,
  plaintext: Uint8Array,
  salt: Uint8Array = randomBytes(saltBytes),
): Buffer {
  if (plaintext.length > plaintextBytesMax) throw new RangeError('plaintext is too long to seal')
  if (salt.length !== saltBytes) throw new RangeError('a salt has 24 bytes')
  const derived = derive(key, salt, context)
  try {
    const parts: Uint8Array[] = [salt, derived.commitment]
    // The last chunk is always shorter than the others, possibly empty, so a cut at a chunk's edge
    // is noticed.
    for (let start = 0, number = 0; start <= plaintext.length; start += chunkBytes, number++) {
      const cipher = createCipheriv('aes-256-gcm', derived.key, chunkNonce(derived.nonce, number))
      parts.push(cipher.update(plaintext.subarray(start, start + chunkBytes)))
      parts.push(cipher.final(), cipher.getAuthTag())
    }
    return Buffer.concat(parts)
  } finally {
    derived.wipe()
  }
}

/**
 * The plaintext, or undefined when the key, the context or any byte differs from the sealed ones.
 *
 * It does not give the reason, and decrypts only after the commitment has matched. The caller owns
 * the plaintext and wipes it.
 */
export function decrypt(
  key: Uint8Array,
  context: Uint8Array,
  sealed: Uint8Array,
): Buffer | undefined {
  const body = sealed.subarray(saltBytes + commitmentBytes)
  const tail = body.length % sealedChunkBytes
  if (tail < tagBytes || body.length > plaintextBytesMax + plaintextBytesMax / 64) return undefined
  const derived = derive(key, sealed.subarray(0, saltBytes), context)
  try {
    const commitment = sealed.subarray(saltBytes, saltBytes + commitmentBytes)
    if (!timingSafeEqual(commitment, derived.commitment)) return undefined
    return openChunks(derived, body)
  } finally {
    derived.wipe()
  }
}

/** HKDF-Expand over SHA-512: RFC 5869 section 2.3. Node has it only together with Extract. */
export function hkdfExpand(key: Uint8Array, info: Uint8Array, length: number): Buffer {
  const output = secretBuffer(length)
  let last: Buffer = Buffer.alloc(0)
  for (let have = 0, number = 1; have < length; number++) {
    const block = hmac(key, [last, info, Buffer.of(number)])
    last.fill(0)
    last = block
    have += block.copy(output, have)
  }
  last.fill(0)
  return output
}

/**
 * HMAC-SHA-512, RFC 2104, by a key of one block at most.
 *
 * Node's own HMAC makes a key object of the bytes first. That is slow, and the object keeps the key
 * until it is collected. This one wipes every buffer that held it.
 */
export function hmac(key: Uint8Array, message: readonly Uint8Array[]): Buffer {
  if (key.length > blockBytes) throw new RangeError('a key is longer than a block')
  const inner = padded(key, 0x36, message)
  const digest = hash('sha512', inner, 'buffer')
  const outer = padded(key, 0x5c, [digest])
  try {
    return hash('sha512', outer, 'buffer')
  } finally {
    for (const bytes of [inner, outer, digest]) bytes.fill(0)
  }
}

/** The key filled up to a block, each byte xored with pad, and the message behind it. */
function padded(key: Uint8Array, pad: number, behind: readonly Uint8Array[]): Buffer {
  const length = behind.reduce((sum, { length }) => sum + length, blockBytes)
  const bytes = secretBuffer(length).fill(pad, 0, blockBytes)
  for (let at = 0; at < key.length; at++) bytes[at] = pad ^ (key[at] ?? 0)
  let at = blockBytes
  for (const part of behind) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/**
 * A buffer for key material, of zeros. It is no slice of Node's shared pool, which other code may see. It
 * has an ArrayBuffer from the first: V8 keeps a small array without one in its own heap, and leaves a
 * copy there when the array first goes to native code.
 */
export function secretBuffer(length: number): Buffer {
  return Buffer.from(new ArrayBuffer(length))
}

interface Derived {
  readonly key: Buffer
  readonly nonce: Buffer
  readonly commitment: Buffer
  wipe(): void
}

const infoPrefix = Buffer.from('c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0')

function derive(key: Uint8Array, salt: Uint8Array, context: Uint8Array): Derived {
  if (key.length !== keyBytes) throw new RangeError('a key has 32 bytes')
  const info = Buffer.concat([infoPrefix, salt, context])
  const bytes = hkdfExpand(key, info, keyBytes + nonceBytes + commitmentBytes)
  return {
    key: bytes.subarray(0, keyBytes),
    nonce: bytes.subarray(keyBytes, keyBytes + nonceBytes),
    commitment: bytes.subarray(keyBytes + nonceBytes),
    wipe: () => bytes.fill(0),
  }
}

function openChunks(derived: Derived, body: Uint8Array): Buffer | undefined {
  const chunks = Math.floor(body.length / sealedChunkBytes) + 1
  const plaintext = secretBuffer(body.length - chunks * tagBytes)
  for (let number = 0; number < chunks; number++) {
    const chunk = body.subarray(number * sealedChunkBytes, (number + 1) * sealedChunkBytes)
    const part = plaintext.subarray(number * chunkBytes, (number + 1) * chunkBytes)
    if (openChunk(derived.key, chunkNonce(derived.nonce, number), chunk, part)) continue
    plaintext.fill(0)
    return undefined
  }
  return plaintext
}

/**
 * Decrypts one chunk into a buffer of its length; false when its tag does not fit.
 *
 * Node copies the output of a cipher once, and frees the first copy without wiping it. So no cipher
 * returns plaintext here: a random mask is encrypted in its place, and removed in our own memory.
 * Encrypting the result again gives the tag.
 */
function openChunk(key: Buffer, nonce: Buffer, chunk: Uint8Array, into: Buffer): boolean {
  const sealed = chunk.subarray(0, chunk.length - tagBytes)
  const mask = randomFillSync(secretBuffer(sealed.length))
  const masked = createCipheriv('aes-256-gcm', key, nonce).update(mask)
  for (let at = 0; at < into.length; at++) {
    into[at] = (masked[at] ?? 0) ^ (mask[at] ?? 0) ^ (sealed[at] ?? 0)
  }
  mask.fill(0)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.update(into)
  cipher.final()
  return timingSafeEqual(cipher.getAuthTag(), chunk.subarray(chunk.length - tagBytes))
}

/** The base nonce with the chunk's number, big-endian, xored into its end. */
function chunkNonce(base: Buffer, number: number): Buffer {
  const nonce = Buffer.from(base)
  nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ number) >>> 0, 8)
  return nonce
}
