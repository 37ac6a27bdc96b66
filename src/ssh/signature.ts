import { createHash, verify } from 'node:crypto'
import type { KeyFields, KeyType, SignatureAlgorithm } from './key-types.ts'
import { decodePublicKey } from './public-key.ts'
import { Reader, WireError, Writer } from './wire.ts'

/** The security key was touched: `SSH_SK_USER_PRESENCE_REQD` of OpenSSH's PROTOCOL.u2f. */
const userPresentFlag = 0x01
/** Its holder gave a PIN or a fingerprint: `SSH_SK_USER_VERIFICATION_REQD`. */
const userVerifiedFlag = 0x04

export interface UserSignature {
  /** The key that is said to have signed, as on the wire. */
  readonly key: Buffer
  /** The algorithm that the request names for its signature. */
  readonly algorithm: string
  /** The whole signature as on the wire: algorithm, then signature (RFC 4253 section 6.6). */
  readonly signature: Buffer
  readonly data: Buffer
}

/** The statement of a security key, under its signature, about how it came to sign. */
export interface SecurityKeyStatement {
  /** It was touched. */
  readonly userPresent: boolean
  /** It verified its holder, by a PIN or a fingerprint. */
  readonly userVerified: boolean
  /** Of its signatures so far. Grows, except in keys that do not count and always say 0. */
  readonly counter: number
}

/** A key with its fields. */
interface DecodedKey {
  readonly type: KeyType
  readonly fields: KeyFields
}

/** A signature that is well formed for a key. */
interface DecodedSignature {
  readonly algorithm: SignatureAlgorithm
  readonly bare: Buffer
  /** Of a security key only. */
  readonly stated?: { readonly flags: number; readonly counter: number }
}

/**
 * Whether the holder of the key signed the data, with the algorithm named and no other.
 *
 * Takes bytes from strangers and never throws for them: the answer to every fault is false. SHA-1
 * is always a fault, and so is a security key that was not touched.
 */
export function verifyUserSignature(signature: UserSignature): boolean {
  return userVerifier(signature.key)(signature)
}

/**
 * The same for many signatures of one key, which is read once: reading an RSA key takes longer than verifying
 * with it.
 */
export function userVerifier(key: Buffer): (signature: Omit<UserSignature, 'key'>) => boolean {
  const decoded = decodePublicKey(key)
  return (signature) => {
    const verified = verifySignature(decoded, signature)
    if (verified === undefined) return false
    return verified.stated === undefined || (verified.stated.flags & userPresentFlag) !== 0
  }
}

/**
 * The statement of the security key when it signed the data, only with the named algorithm. The
 * caller decides whether it is enough, and checks that the counter has grown.
 *
 * Takes bytes from strangers and never throws for them: undefined when anything is wrong, and for a
 * key that is no security key.
 */
export function verifySecurityKeySignature(
  signature: UserSignature,
): SecurityKeyStatement | undefined {
  const key = decodePublicKey(signature.key)
  // For other keys nothing is verified here: call verifyUserSignature.
  if ('problem' in key || !key.type.isSecurityKey) return undefined
  const stated = verifySignature(key, signature)?.stated
  if (stated === undefined) return undefined
  return {
    userPresent: (stated.flags & userPresentFlag) !== 0,
    userVerified: (stated.flags & userVerifiedFlag) !== 0,
    counter: stated.counter,
  }
}

/** Reads a signature that this key could have made; throws WireError for every other. */
export function decodeSignature({ type, fields }: DecodedKey, signature: Buffer): DecodedSignature {
  const reader = new Reader(signature)
  const name = reader.text()
  const algorithm = type.algorithms.find((candidate) => candidate.name === name)
  if (algorithm === undefined) throw new WireError('a signature is not by an algorithm of its key')
  const bare = type.readSignature(reader, fields)
  const stated = type.isSecurityKey ? { flags: reader.u8(), counter: reader.u32() } : undefined
  reader.end()
  return { algorithm, bare, ...(stated === undefined ? {} : { stated }) }
}

function verifySignature(
  key: ReturnType<typeof decodePublicKey>,
  given: Omit<UserSignature, 'key'>,
): DecodedSignature | undefined {
  if ('problem' in key) return undefined
  try {
    const decoded = decodeSignature(key, given.signature)
    const { algorithm, bare, stated } = decoded
    if (algorithm.name !== given.algorithm) return undefined
    const data = stated === undefined ? given.data : securityKeyData(key.fields, stated, given.data)
    const { fields, type } = key
    // Node reads a key by itself sooner than one among options, which only pairs of numbers need.
    const by =
      type.material === 'ec' ? { key: fields.key, dsaEncoding: 'ieee-p1363' as const } : fields.key
    return verify(algorithm.hash, data, by, bare) ? decoded : undefined
  } catch (err) {
    if (err instanceof WireError) return undefined
    throw err
  }
}

/** The bytes that a security key signs in place of the data: PROTOCOL.u2f, "SSH U2F signatures". */
function securityKeyData(
  { application = '' }: KeyFields,
  { flags, counter }: { flags: number; counter: number },
  data: Buffer,
): Buffer {
  return new Writer()
    .bytes(sha256(Buffer.from(application)))
    .u8(flags)
    .u32(counter)
    .bytes(sha256(data))
    .build()
}

function sha256(data: Buffer): Buffer {
  return createHash('sha256').update(data).digest()
}
