/** Base64 (RFC 4648 section 4) from buffer to buffer: a string of a secret cannot be wiped. */

const alphabet = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
const padding = 0x3d

/** The number of characters, with padding, for so many bytes. */
export function base64Length(bytes: number): number {
  return 4 * Math.ceil(bytes / 3)
}

/** Writes the characters of bytes at a place of another buffer; answers where they end. */
export function writeBase64(bytes: Uint8Array, into: Buffer, at: number): number {
  let end = at
  for (let from = 0; from < bytes.length; from += 3) {
    const bits = ((bytes[from] ?? 0) << 16) | ((bytes[from + 1] ?? 0) << 8) | (bytes[from + 2] ?? 0)
    into[end++] = digit(bits >> 18)
    into[end++] = digit(bits >> 12)
    into[end++] = from + 1 < bytes.length ? digit(bits >> 6) : padding
    into[end++] = from + 2 < bytes.length ? digit(bits) : padding
  }
  return end
}

/**
 * Reads padded base64 that fills a buffer exactly. False when the text has another length, other
 * characters, or bits that belong to no byte; the buffer then holds nothing.
 */
export function readBase64(text: Uint8Array, into: Buffer): boolean {
  if (text.length !== base64Length(into.length)) return false
  const padded = (3 - (into.length % 3)) % 3
  let wrong = 0
  for (let at = 0, from = 0; from < text.length; at += 3, from += 4) {
    let bits = 0
    for (let i = from; i < from + 4; i++) {
      const character = text[i] ?? 0
      const isPadding = i >= text.length - padded
      const value = isPadding ? 0 : bitsOf(character)
      wrong |= isPadding ? character ^ padding : value & ~63
      bits = (bits << 6) | (value & 63)
    }
    into[at] = bits >> 16
    if (at + 1 < into.length) into[at + 1] = bits >> 8
    else wrong |= bits & 0xff00
    if (at + 2 < into.length) into[at + 2] = bits
    else wrong |= bits & 0xff
  }
  if (wrong !== 0) into.fill(0)
  return wrong === 0
}

function digit(bits: number): number {
  return alphabet[bits & 63] ?? padding
}

/** -1 for a character of no meaning. Does the same for each character: it takes no branch and no table. */
function bitsOf(character: number): number {
  // All ones where low < character < high, and otherwise 0.
  const between = (low: number, high: number) => ((low - character) & (character - high)) >> 8
  return (
    -1 +
    (between(0x40, 0x5b) & (character - 0x40)) + // A to Z
    (between(0x60, 0x7b) & (character - 0x46)) + // a to z
    (between(0x2f, 0x3a) & (character + 5)) + // 0 to 9
    (between(0x2a, 0x2c) & 63) + // +
    (between(0x2e, 0x30) & 64) // /
  )
}
