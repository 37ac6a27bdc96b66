import { createHash } from 'node:crypto'
import { Reader, WireError } from './wire.ts'

/** The exchange hash of a connection's first key exchange, with its input: RFC 4253 section 8. */
export interface BoundExchange {
  /** The hash algorithm of the exchange method. No second input with the same hash can be found for these. */
  readonly hash: 'sha256' | 'sha384' | 'sha512'
  /**
   * V_C, V_S, I_C, I_S and the other inputs. The last of them is the shared secret: never log it.
   */
  readonly input: Buffer
}

/** Bytes of the cookie in a KEXINIT: RFC 4253 section 7.1. */
export const cookieBytes = 16

const SSH_MSG_KEXINIT = 20

/**
 * Tells whether an exchange hash is that of a key exchange in which the server sent this cookie. A
 * signature of the hash was then made after the cookie was chosen. Never throws.
 */
export function isBoundTo(
  { hash, input }: BoundExchange,
  exchangeHash: Buffer,
  cookie: Buffer,
): boolean {
  if (cookie.length !== cookieBytes) return false
  if (!createHash(hash).update(input).digest().equals(exchangeHash)) return false
  try {
    const reader = new Reader(input)
    reader.string() // V_C
    reader.string() // V_S
    reader.string() // I_C
    const serverKexinit = new Reader(reader.string())
    return serverKexinit.u8() === SSH_MSG_KEXINIT && serverKexinit.bytes(cookieBytes).equals(cookie)
  } catch (err) {
    if (err instanceof WireError) return false
    throw err
  }
}
