import { parseUserauthRequest, WireError } from '../ssh/index.ts'
import type { Lease } from './lease.ts'

/** The reasons for which the vault refuses to sign: a closed set, told to the caller and counted. */
export type Refusal =
  | 'lease' // unknown, used, or expired
  | 'length'
  | 'ssh-signature'
  | 'certificate'
  | 'not-a-login'
  | 'user'
  | 'key'
  | 'algorithm'
  | 'host-key'

/** RFC 4252 section 7 with our longest key, a host key beside it, and room. */
const requestBytesMax = 8 * 1024

/** The lengths of exchange hashes of RFC 4253 key exchanges with SHA-256, SHA-384 and SHA-512. */
const exchangeHashBytes: ReadonlySet<number> = new Set([32, 48, 64])

/**
 * The reason to refuse data, or undefined when it is exactly the login that was leased.
 *
 * The vault is no oracle. It signs one form of bytes only: user, key and algorithm are those of the
 * lease, and no other protocol accepts this form.
 */
export function refuseRequest(lease: Lease, data: Buffer, algorithm: string): Refusal | undefined {
  if (data.length > requestBytesMax) return 'length'
  if (!lease.algorithms.includes(algorithm)) return 'algorithm'
  // Both would fail to parse below. They get names of their own: such a request is no mistake.
  if (data.subarray(0, 6).toString('latin1') === 'SSHSIG') return 'ssh-signature'
  if (startsLikeCertificate(data)) return 'certificate'
  const request = parseRequest(data)
  if (request === undefined) return 'not-a-login'
  if (!exchangeHashBytes.has(request.exchangeHash.length)) return 'not-a-login'
  if (request.user !== lease.login) return 'user'
  if (!request.key.equals(lease.shown)) return 'key'
  if (request.algorithm !== (lease.ephemeral?.certificateAlgorithm ?? algorithm)) return 'algorithm'
  if (request.hostKey !== undefined && lease.hostKey !== undefined) {
    if (!request.hostKey.equals(lease.hostKey)) return 'host-key'
  }
  return undefined
}

function parseRequest(data: Buffer) {
  try {
    return parseUserauthRequest(data)
  } catch (err) {
    if (err instanceof WireError) return undefined
    throw err
  }
}

/** The part of an OpenSSH certificate that is signed begins with the name of its type. */
function startsLikeCertificate(data: Buffer): boolean {
  const length = data.length >= 4 ? data.readUInt32BE(0) : 0
  const name = data.subarray(4, 4 + Math.min(length, 64)).toString('latin1')
  return /-cert-v\d\d@openssh\.com$/.test(name)
}
