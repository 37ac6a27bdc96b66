import type { TenantId } from '../postgres/index.ts'

export type UserId = string & { readonly brand: 'UserId' }

/** What a user may do in the tenant; which targets they may open is for grants to say. */
export type Role = 'owner' | 'admin' | 'member' | 'auditor'

export const roles: readonly Role[] = ['owner', 'admin', 'member', 'auditor']

export interface Person {
  readonly id: UserId
  readonly name: string
  readonly role: Role
}

/** The certificate with which somebody proved who they are, and what it binds them to. */
export interface LoginCertificate {
  /** Of the tenant's authority. */
  readonly generation: number
  /** Decimal. */
  readonly serial: string
  readonly keyId: string
  /** RFC 3339, UTC: until when a session may be started with it. */
  readonly expiresAt: string
  /** The `permit-…` extensions: what is not here is not permitted. */
  readonly permits: readonly string[]
  /** The only command that may run, in place of whatever is asked for. */
  readonly forceCommand?: string
}

/** Somebody who proved to hold a registered or certified key. Plain data: it can cross a process boundary. */
export interface Identity {
  readonly tenant: TenantId
  readonly tenantSlug: string
  readonly user: Person
  /** Of the key that proved it. */
  readonly keyFingerprint: string
  readonly certificate?: LoginCertificate
}

/** Somebody who is signed in to the pages. */
export interface WebIdentity {
  readonly tenant: TenantId
  readonly tenantSlug: string
  readonly user: Person
  /** Which web session this is, for the log. */
  readonly session: string
}
