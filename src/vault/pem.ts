const alphabet = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
const first = Buffer.from('-----BEGIN PRIVATE KEY-----\n')
const last = Buffer.from('-----END PRIVATE KEY-----\n')
const newline = 0x0a
const padding = 0x3d

/**
 * PKCS#8 DER as PEM, from buffer to buffer: Node's own encoding goes through a string, and a
 * string cannot be wiped.
 */
export function encodePrivateKeyPem(der: Buffer): Buffer {
  const lines = Math.ceil(der.length / 48)
  const base64 = 4 * Math.ceil(der.length / 3)
  const pem = Buffer.allocUnsafeSlow(first.length + base64 + lines + last.length)
  let at = first.copy(pem)
  for (let from = 0; from < der.length; from += 3) {
    const [one = 0, two = 0, three = 0] = der.subarray(from, from + 3)
    const bits = (one << 16) | (two << 8) | three
    pem[at++] = digit(bits >> 18)
    pem[at++] = digit(bits >> 12)
    pem[at++] = from + 1 < der.length ? digit(bits >> 6) : padding
    pem[at++] = from + 2 < der.length ? digit(bits) : padding
    if (from % 48 === 45 || from + 3 >= der.length) pem[at++] = newline
  }
  last.copy(pem, at)
  return pem
}

function digit(bits: number): number {
  return alphabet[bits & 63] ?? padding
}
