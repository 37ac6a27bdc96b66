import type { Ca } from './ca.ts'
import { userOfPrincipal } from './principal.ts'

/** Logins with certificates are checked against the tenant's own user authority. */
export function loginCertificates(ca: Pick<Ca, 'trust' | 'revokeOfKey' | 'isRevokedKey'>) {
  return {
    trust: (...[tx, tenant, certificate]: LoginTrust) => ca.trust(tx, tenant, 'user', certificate),
    userOf: userOfPrincipal,
    revokeOfKey: ca.revokeOfKey,
    isRevokedKey: ca.isRevokedKey,
  }
}

type LoginTrust = [
  tx: Parameters<Ca['trust']>[0],
  tenant: Parameters<Ca['trust']>[1],
  certificate: Parameters<Ca['trust']>[3],
]
