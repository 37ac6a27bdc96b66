/**
 * Users, the keys they log in with, and their sign-ins to the pages.
 *
 * An offered key proves nothing. Only a signature over this connection proves a login, and this
 * module verifies it. A registered key counts only as VaultTerm wrote it. Only hashes of tokens and
 * cookies are stored.
 */

export { type Actor, actorKeys, actorNames } from './actor.ts'
export {
  type AdminAuth,
  type Administrator,
  type Auth,
  createAdminAuth,
  createAuth,
  type WebPeople,
} from './auth.ts'
export { UserMissing, WebSessionMissing } from './errors.ts'
export {
  type Identity,
  type LoginCertificate,
  type Person,
  type Role,
  roles,
  type UserId,
  type Visitor,
  type WebIdentity,
} from './identity.ts'
export { tagOldKeys, type UserKey } from './keys.ts'
export type { Members, TenantMember } from './members.ts'
export type { OwnKey, OwnKeys } from './own-keys.ts'
export type { Passkey } from './passkeys.ts'
export { relyingPartyOf } from './relying-party.ts'
export { type StepUpPurpose, stepUpPurposes } from './step-up.ts'
export { sweepLogins, sweepLoginsDaily } from './sweep.ts'
export type { User } from './users.ts'
export type { WebLogins } from './web-login.ts'
export type { WebSession } from './web-sessions.ts'
export type { Assertion, Attestation, RelyingParty } from './webauthn.ts'
