import type { ReadTx } from '../postgres/index.ts'
import type { Certificate } from '../ssh/index.ts'
import { userOfPrincipal } from './principal.ts'
import { type Trust, trust } from './trust.ts'

/** What logins with certificates are checked against: the tenant's own user authority. */
export const loginCertificates = {
  trust: (tx: ReadTx, certificate: Certificate | undefined): Promise<Trust> =>
    trust(tx, 'user', certificate),
  userOf: userOfPrincipal,
}
