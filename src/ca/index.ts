/**
 * The certificate authority: for each tenant one that certifies users, and one that certifies hosts.
 *
 * The vault keeps the keys, and signs an order from here once `cert.issue` is on the log. Each authority
 * comes in generations: the next one is trusted before it signs, a retired one until its certificates
 * have expired. A public key that the vault did not make is trusted nowhere.
 */

export { type Ca, createCa, isStandIn } from './ca.ts'
export { CertificateRefused } from './errors.ts'
export type { Authority } from './generation.ts'
export type { IssuedCertificate } from './issuer.ts'
export { loginCertificates } from './login-certificates.ts'
export { targetPrincipal } from './principal.ts'
export { standing } from './trust.ts'
