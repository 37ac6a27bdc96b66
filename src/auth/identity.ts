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

/** Somebody who proved to hold a registered key. Plain data: it can cross a process boundary. */
export interface Identity {
  readonly tenant: TenantId
  readonly tenantSlug: string
  readonly user: Person
  /** Of the key that proved it. */
  readonly keyFingerprint: string
}

/** Somebody who is signed in to the pages. */
export interface WebIdentity {
  readonly tenant: TenantId
  readonly tenantSlug: string
  readonly user: Person
  /** Which web session this is, for the log. */
  readonly session: string
}
