import { parseIpAddress } from '../../../ssh/index.ts'
import type { Destination } from '../../wire/destination.ts'
import { Refused } from '../errors.ts'

const sshPort = 22
const nameShownMax = 64

/**
 * The refusal of a forward whose destination may be the mistyped target of a jump (`ssh -J`): `NAME.TENANT`, or
 * a name without a dot, at the port of SSH. It says so, and names the targets that the user may open. Any other
 * error is returned as it is.
 */
export function missedJump(err: unknown, { host, port }: Destination, tenantSlug: string): unknown {
  if (!(err instanceof Refused) || err.targets === undefined || port !== sshPort) return err
  const suffix = `.${tenantSlug}`
  const isOurs = host.endsWith(suffix)
  const name = isOurs ? host.slice(0, -suffix.length) : host
  if (name === '' || name.includes('.') || parseIpAddress(host) !== undefined) return err
  const forward = isOurs ? '' : ', and a forward to it needs a grant that allows forward'
  const names = err.targets.length === 0 ? '' : `; choose one of ${err.targets.join(', ')}`
  const { code, targets } = err
  const message = `${name.slice(0, nameShownMax)} is no target that you may open${forward}${names}`
  return new Refused({ code, message, targets })
}
