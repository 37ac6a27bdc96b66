import { parseCertificate } from './certificate.ts'
import { verifyUserSignature } from './signature.ts'
import { Reader, WireError } from './wire.ts'

/** What a server proves itself with at a key exchange: RFC 4253 section 8. */
export interface HostProof {
  /** As it was shown: a key, or a certificate for one. */
  readonly hostKey: Buffer
  /** Of the exchange hash, as on the wire. */
  readonly signature: Buffer
}

/**
 * Whether the holder of a host key took part in the key exchange with this hash. Whose key it is, and
 * whether a certificate is good, is for others to say. Never throws, and takes no SHA-1.
 */
export function verifyHostProof({ hostKey, signature }: HostProof, exchangeHash: Buffer): boolean {
  const parsed = parseCertificate(hostKey)
  const key = 'problem' in parsed ? hostKey : parsed.certificate.publicKey
  try {
    const algorithm = new Reader(signature).text()
    return verifyUserSignature({ key, algorithm, signature, data: exchangeHash })
  } catch (err) {
    if (err instanceof WireError) return false
    throw err
  }
}
