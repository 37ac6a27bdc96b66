import type { AccessAttempt } from '../../access/index.ts'
import { parseUsername } from './username.ts'

const loginName = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/

/** The login that the user name of an inner connection asks for. undefined: the name is of another tenant or target. */
export function readJumpUsername(
  user: string,
  jump: { readonly slug: string; readonly idName: string; readonly target: string },
): Pick<AccessAttempt, 'login' | 'preferredLogin'> | undefined {
  const isOwn = (tenant: string) => tenant === jump.slug || tenant === jump.idName
  if (user.includes('+')) {
    const named = parseUsername(user)
    if (named === undefined || !isOwn(named.tenant)) return undefined
    if (named.target !== undefined && named.target !== jump.target) return undefined
    return named.login === undefined ? {} : { login: named.login }
  }
  if (isOwn(user)) return {}
  // ssh sends the local user's name if no login is given.
  return loginName.test(user) ? { preferredLogin: user } : {}
}
