import type { ReadTx } from '../postgres/index.ts'
import { userOfPrincipal } from './principal.ts'
import { type Trust, trust } from './trust.ts'

/** What logins with certificates are checked against: the tenant's own user authority. */
export const loginCertificates = {
  trust: (tx: ReadTx): Promise<Trust> => trust(tx, 'user'),
  userOf: userOfPrincipal,
}
