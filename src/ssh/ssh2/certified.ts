import type { PublicKey } from '../public-key.ts'
import { Reader, WireError } from '../wire.ts'

/** The type of the certificates for keys of this type; of their algorithms too. */
export function certificateType(keyType: string): string {
  return `${keyType}-cert-v01@openssh.com`
}

/**
 * Throws TypeError when our certificate is not for the key beside it: no peer would accept it. Its
 * readers check the other fields.
 */
export function assertCertified({ type, blob }: PublicKey, certificate: Buffer): void {
  try {
    const reader = new Reader(certificate)
    const isOfType = reader.text() === certificateType(type)
    reader.string() // nonce
    const key = new Reader(blob)
    key.string()
    const fields = key.bytes(key.left)
    if (isOfType && reader.bytes(fields.length).equals(fields)) return
  } catch (err) {
    if (!(err instanceof WireError)) throw err
  }
  throw new TypeError('the certificate is not for this key')
}
