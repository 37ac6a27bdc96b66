import type { Wish as AccessWish } from '../../access/index.ts'
import { parseUsername } from './username.ts'

const loginName = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/

/** What the user name of an inner connection wishes, when it can be one of this tenant's. */
export function wishOf(
  user: string,
  jump: { readonly slug: string; readonly idName: string; readonly target: string },
): Pick<AccessWish, 'login' | 'preferredLogin'> | undefined {
  const isOwn = (tenant: string) => tenant === jump.slug || tenant === jump.idName
  if (user.includes('+')) {
    const wish = parseUsername(user)
    if (wish === undefined || !isOwn(wish.tenant)) return undefined
    if (wish.target !== undefined && wish.target !== jump.target) return undefined
    return wish.login === undefined ? {} : { login: wish.login }
  }
  if (isOwn(user)) return {}
  // ssh sends the name of whoever sits there when it is told none.
  return loginName.test(user) ? { preferredLogin: user } : {}
}
