import { type Wish as AccessWish, hostNames, type Target } from '../../access/index.ts'
import type { Destination } from '../wire/destination.ts'
import { parseUsername } from './username.ts'

const sshPort = 22
const loginName = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/

/**
 * The target that a destination names: by its name, `NAME` or `NAME.TENANT`, at the port that SSH has
 * or at its own; or by the address that it is registered with.
 */
export function targetAt(
  targets: readonly Target[],
  slug: string,
  { host, port }: Destination,
): Target | undefined {
  const name = host.toLowerCase().replace(/\.$/, '')
  const named = targets.find(
    (target) => hostNames(slug, target).slice(0, 2).includes(name) && isPortOf(target, port),
  )
  return (
    named ?? targets.find((target) => target.host.toLowerCase() === name && target.port === port)
  )
}

function isPortOf(target: Target, port: number): boolean {
  return port === sshPort || port === target.port
}

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
