/**
 * The certificate authority: for each tenant one that certifies users, and one that certifies hosts.
 *
 * The keys are the vault's, which signs what is ordered here once `cert.issue` is on the log. Each
 * authority comes in generations: the next one is trusted before it signs, the retired one until
 * what it signed has expired.
 */

export { type Ca, createCa, isStandIn } from './ca.ts'
export type { Authority } from './generation.ts'
export type { IssuedCertificate } from './issuer.ts'
export { loginCertificates } from './login-certificates.ts'
export { targetPrincipal } from './principal.ts'
export { standing } from './trust.ts'
