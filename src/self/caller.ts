import type { Actor, WebIdentity } from '../auth/index.ts'
import type { RouteCall } from '../http/index.ts'

/** The person of a request, as the log names them. */
export function callerOf({ person, source, stepUp }: RouteCall<WebIdentity>): Actor {
  const { id, name } = person.user
  return { kind: 'user', id, name, source, ...(stepUp !== undefined && { stepUp }) }
}
