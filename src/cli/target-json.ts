import type { Target } from '../access/index.ts'
import { fingerprint, formatPublicKey } from '../ssh/index.ts'
import { NotFound, shown } from './errors.ts'

/** Throws NotFound where a look-up found no target of that name. */
export function requireTarget(target: Target | undefined, name: string): Target {
  if (target !== undefined) return target
  throw new NotFound('target', `there is no target ${shown(name)}`)
}

/** A target as every command prints it with --json. */
export function targetJson({ id, name, host, port, logins, auth, hostKeys }: Target): object {
  const [first] = hostKeys
  return {
    id,
    name,
    host,
    port,
    logins,
    auth,
    hostKey: first === undefined ? null : formatPublicKey(first),
    hostKeys: hostKeys.map((key) => ({
      type: key.type,
      fingerprint: fingerprint(key.blob),
      key: formatPublicKey(key),
    })),
  }
}
