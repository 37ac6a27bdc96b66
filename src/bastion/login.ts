import type { Identity } from '../auth/index.ts'
import type { AuthAttempt } from '../ssh/index.ts'
import type { BastionDeps } from './deps.ts'
import { parseUsername, type Wish } from './username.ts'

/** Who a client proved to be, and what it came for. */
export interface ClientFacts {
  readonly identity: Identity
  readonly wish: Wish
  readonly source: string
}

/** A name that no tenant can have, so that a malformed user name costs the same look-up. */
const nobody = 'nobody-has-this-name'

/**
 * Who a signed attempt proves to be; undefined for nobody.
 *
 * Malformed and unknown names take the same way as known ones, down to a signature that is checked
 * and a key that is looked up: neither the answer nor its timing tells which it was.
 */
export async function login(
  deps: BastionDeps,
  attempt: AuthAttempt,
  source: string,
): Promise<ClientFacts | undefined> {
  const wish = parseUsername(attempt.user)
  const tenant = await deps.tenants.resolve(wish?.tenant ?? nobody)
  const identity = await deps.auth.authenticateSsh({
    tenant: wish === undefined ? undefined : tenant?.id,
    attempt,
    source,
  })
  deps.metrics.authentications.inc({ outcome: identity === undefined ? 'refused' : 'accepted' })
  return wish === undefined || identity === undefined ? undefined : { identity, wish, source }
}
