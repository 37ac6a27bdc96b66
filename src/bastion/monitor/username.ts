/** The parts of an SSH user name: `<tenant>`, `<tenant>+<target>` or `<tenant>+<target>+<login>`. */
export interface Username {
  /** A tenant's slug, or `tenant-` and the first 8 hex digits of its id. */
  readonly tenant: string
  readonly target: string | undefined
  readonly login: string | undefined
}

const name = /^[a-z0-9][a-z0-9-]{0,31}$/
const login = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/

/**
 * Reads a user name. undefined: the name has no valid form. Such a name is treated like an unknown
 * tenant, so that a stranger cannot see the difference.
 */
export function parseUsername(text: string): Username | undefined {
  const [tenant = '', target, account, ...rest] = text.split('+')
  if (rest.length > 0 || !name.test(tenant)) return undefined
  if (target !== undefined && !name.test(target)) return undefined
  if (account !== undefined && !login.test(account)) return undefined
  return { tenant, target, login: account }
}
