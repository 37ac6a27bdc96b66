import { createHash } from 'node:crypto'
import type { TenantId } from '../postgres/index.ts'

const userPrefix = 'user-'
const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/**
 * The one principal in the certificate of a user: their id, because a name can be given to another
 * user.
 */
export function userPrincipal(user: string): string {
  return `${userPrefix}${user}`
}

/** The id of the user with this principal; undefined when it is not a user's. */
export function userOfPrincipal(principal: string): string | undefined {
  const user = principal.startsWith(userPrefix) ? principal.slice(userPrefix.length) : ''
  return uuidPattern.test(user) ? user : undefined
}

/**
 * The one principal with which we log in to an account on a target. It shows a reader of a log no
 * names, and is valid on no other target and for no other account.
 */
export function targetPrincipal(tenant: TenantId, target: string, login: string): string {
  const hash = createHash('sha256').update(`vaultterm principal\0${tenant}\0${target}\0${login}`)
  return `b1-${base32(hash.digest()).slice(0, 26)}`
}

function base32(bytes: Buffer): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      text += alphabet.charAt((value >>> (bits - 5)) & 31)
      bits -= 5
    }
    value &= (1 << bits) - 1
  }
  return text
}
