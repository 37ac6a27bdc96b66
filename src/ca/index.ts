/**
 * The certificate authority: for each tenant one that certifies users, and one that certifies hosts.
 *
 * The keys are the vault's, which signs what is ordered here once `cert.issue` is on the log. Each
 * authority comes in generations: the next one is trusted before it signs, the retired one until
 * what it signed has expired.
 */

export type { Authority, AuthorityState } from './authority.ts'
export {
  type Ca,
  type CaDeps,
  createCa,
  type HostCertificateWish,
  type IssuedCertificate,
  isStandIn,
  type UpstreamWish,
  type UserCertificateWish,
} from './ca.ts'
export { CertificateRefused, RevocationInvalid } from './errors.ts'
export { loginCertificates } from './login-certificates.ts'
export { targetPrincipal } from './principal.ts'
export type { Revocation } from './revocation.ts'
export { type CertificateName, standing, type Trust, trust } from './trust.ts'
