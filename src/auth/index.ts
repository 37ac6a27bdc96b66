/**
 * Who people are: users and the keys they prove themselves with, and who is signed in to the pages.
 *
 * An offered key proves nothing; only a signature over this very connection does, and it is verified
 * here. Of tokens and cookies only hashes are kept.
 */

export { type Actor, actorKeys } from './actor.ts'
export {
  type AdminAuth,
  type Administrator,
  type Auth,
  createAdminAuth,
  createAuth,
} from './auth.ts'
export {
  AdministratorMissing,
  EmailInvalid,
  KeyExists,
  KeyMissing,
  KeyRefused,
  UserExists,
  UserMissing,
  UserNameInvalid,
} from './errors.ts'
export {
  type Identity,
  type LoginCertificate,
  type Person,
  type Role,
  roles,
  type UserId,
  type WebIdentity,
} from './identity.ts'
export { tagOldKeys, type UserKey } from './keys.ts'
export type { NewUser, User } from './users.ts'
export type { LoginLink, WebLogins } from './web-login.ts'
