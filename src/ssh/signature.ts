import { createHash, verify } from 'node:crypto'
import type { KeyFields, KeyType, SignatureAlgorithm } from './key-types.ts'
import { decodePublicKey } from './public-key.ts'
import { Reader, WireError, Writer } from './wire.ts'

/** Somebody touched the security key: `SSH_SK_USER_PRESENCE_REQD` of OpenSSH's PROTOCOL.u2f. */
const userPresent = 0x01

export interface UserSignature {
  /** The key that is said to have signed, as on the wire. */
  readonly key: Buffer
  /** What the request says it was signed with. */
  readonly algorithm: string
  /** The whole signature as on the wire: algorithm, then signature (RFC 4253 section 6.6). */
  readonly signature: Buffer
  readonly data: Buffer
}

/**
 * Whether the holder of the key signed the data, with the algorithm named and no other.
 *
 * Takes bytes from strangers and never throws for them: whatever is wrong, the answer is false.
 * SHA-1 is always wrong, and so is a security key that nobody touched.
 */
export function verifyUserSignature({ key, algorithm, signature, data }: UserSignature): boolean {
  const decoded = decodePublicKey(key)
  if ('problem' in decoded) return false
  const { type, fields } = decoded
  const used = type.algorithms.find(({ name }) => name === algorithm)
  if (used === undefined) return false
  try {
    const reader = new Reader(signature)
    if (reader.text() !== algorithm) return false
    return verifyRest(reader, data, used, type, fields)
  } catch (err) {
    if (err instanceof WireError) return false
    throw err
  }
}

function verifyRest(
  reader: Reader,
  data: Buffer,
  { hash }: SignatureAlgorithm,
  type: KeyType,
  fields: KeyFields,
): boolean {
  const bare = type.readSignature(reader, fields)
  const stated = type.isSecurityKey ? { flags: reader.u8(), counter: reader.u32() } : undefined
  reader.end()
  if (stated !== undefined && (stated.flags & userPresent) === 0) return false
  const signed = stated === undefined ? data : securityKeyData(fields, stated, data)
  return verify(hash, signed, { key: fields.key, dsaEncoding: 'ieee-p1363' }, bare)
}

/** What a security key signs in place of the data: PROTOCOL.u2f, "SSH U2F signatures". */
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
