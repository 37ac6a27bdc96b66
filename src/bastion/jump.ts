import { type Wish as AccessWish, hostNames, type Target } from '../access/index.ts'
import { Reader, WireError } from '../ssh/index.ts'
import { parseUsername } from './username.ts'

/** Where a client wants a channel to lead. */
export interface Destination {
  readonly host: string
  /** 0 to 65535. */
  readonly port: number
}

const sshPort = 22
const hostLengthMax = 255
const portMax = 65_535
const loginName = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/

/** Reads the payload of a `direct-tcpip` open: RFC 4254 section 7.2. Throws WireError. */
export function readDestination(payload: Buffer): Destination {
  const reader = new Reader(payload)
  const host = reader.text()
  const port = reader.u32()
  // Where it comes from is the client's word for something on the client's side.
  reader.string()
  reader.u32()
  reader.end()
  if (host.length > hostLengthMax || port > portMax) throw new WireError('no place to go to')
  return { host, port }
}

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
