import type { TenantId } from '../postgres/index.ts'

export type UserId = string & { readonly brand: 'UserId' }

/** A user's role in the tenant. Grants say which targets the user may open. */
export type Role = 'owner' | 'admin' | 'member' | 'auditor'

export const roles: readonly Role[] = ['owner', 'admin', 'member', 'auditor']

/** Nobody gives or takes a role above their own. */
export const rank: { readonly [role in Role]: number } = {
  owner: 2,
  admin: 1,
  member: 0,
  auditor: 0,
}

export interface Person {
  readonly id: UserId
  readonly name: string
  readonly role: Role
}

/** The certificate of a login, and the restrictions in it. */
export interface LoginCertificate {
  /** Of the tenant's authority. */
  readonly generation: number
  /** Decimal. */
  readonly serial: string
  readonly keyId: string
  /** RFC 3339, UTC. No session starts with it after this time. */
  readonly expiresAt: string
  /** The `permit-…` extensions. Everything that is not listed is forbidden. */
  readonly permits: readonly string[]
  /** The only command that may run; it replaces the requested one. */
  readonly forceCommand?: string
}

/** A user who proved to hold a registered or certified key. Plain data: it can cross a process boundary. */
export interface Identity {
  readonly tenant: TenantId
  readonly tenantSlug: string
  readonly user: Person
  /** Of the key that proved it. */
  readonly keyFingerprint: string
  readonly certificate?: LoginCertificate
}

/** A user who is signed in to the pages. */
export interface WebIdentity {
  readonly tenant: TenantId
  readonly tenantSlug: string
  readonly user: Person
  /** The id of the web session. */
  readonly session: string
  /** The cookie that takes the place of the one that was shown, because the role changed. */
  readonly renewed?: string | undefined
}

/** How somebody signed in to the pages. */
export type SignInProof = 'link' | 'passkey'

/** Where a request to the pages came from. */
export interface Visitor {
  /** The address. */
  readonly source: string
  /** The browser or program, as it calls itself: at most 256 printable ASCII characters. */
  readonly device: string
}
