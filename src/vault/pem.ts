import { base64Length, writeBase64 } from './base64.ts'

const first = Buffer.from('-----BEGIN PRIVATE KEY-----\n')
const last = Buffer.from('-----END PRIVATE KEY-----\n')
const newline = 0x0a
const lineBytes = 48

/** PKCS#8 DER as PEM, from buffer to buffer: a string cannot be wiped. The caller wipes the PEM. */
export function encodePrivateKeyPem(der: Buffer): Buffer {
  const lines = Math.ceil(der.length / lineBytes)
  const length = first.length + base64Length(der.length) + lines + last.length
  const pem = Buffer.allocUnsafeSlow(length)
  let at = first.copy(pem)
  for (let from = 0; from < der.length; from += lineBytes) {
    at = writeBase64(der.subarray(from, from + lineBytes), pem, at)
    pem[at++] = newline
  }
  last.copy(pem, at)
  return pem
}
