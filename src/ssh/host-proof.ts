import { parseCertificate } from './certificate.ts'
import { verifyUserSignature } from './signature.ts'
import { parseUserauthRequest, type UserauthRequest } from './userauth.ts'
import { Reader, WireError } from './wire.ts'

/** The proof that a server took part in a key exchange: RFC 4253 section 8. */
export interface HostProof {
  /** The key, or the certificate for one, as the server showed it. */
  readonly hostKey: Buffer
  /** Of the exchange hash, as on the wire. */
  readonly signature: Buffer
}

/**
 * Whether the holder of a host key took part in the key exchange with this hash. Does not check
 * whose key it is, or whether a certificate is good. Never throws, and refuses SHA-1.
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

/**
 * Reads the data of a login to be signed, at the host that proved itself in the key exchange that
 * the data names. Undefined when the data is not a login, or the host has not proved itself: then
 * it must not be signed. The side that asks for a signature and the side that signs both call this,
 * so that both accept the same data.
 */
export function readProvenLogin(data: Buffer, proof: HostProof): UserauthRequest | undefined {
  try {
    const login = parseUserauthRequest(data)
    return verifyHostProof(proof, login.exchangeHash) ? login : undefined
  } catch (err) {
    if (err instanceof WireError) return undefined
    throw err
  }
}
