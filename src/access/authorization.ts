import { randomUUID } from 'node:crypto'
import type { Identity } from '../auth/index.ts'
import type { TenantId } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { ChannelKind } from './channel-kind.ts'
import { AuthorizationInvalid, AuthorizationsExhausted } from './errors.ts'
import type { Target } from './target-fields.ts'

/**
 * Leave to open one session on one target, now. A process of its own may read a copy; good is only the
 * object that access made, which is frozen and remembered.
 */
export interface Authorization {
  readonly id: string
  readonly tenant: TenantId
  readonly tenantSlug: string
  readonly user: Identity['user']
  readonly target: Target
  readonly login: string
  /** All kinds that are allowed with this login on this target. */
  readonly allow: readonly ChannelKind[]
  /** RFC 3339, UTC: a session can be started with it until then. */
  readonly expiresAt: string
  readonly keyFingerprint: string
  /** The only command that may run; it replaces the requested one. */
  readonly forceCommand?: string
}

/** An authorization with the facts that only access needs. */
export interface Minted {
  readonly authorization: Authorization
  readonly identity: Identity
  readonly kind: ChannelKind
  readonly grant: string
  /** Set when its one session was started. */
  session: SessionId | undefined
  /** On the clock of the mint. */
  goodUntilMs: number
}

/** Of an unused authorization; and from the start of its session on, for the login at the target. */
const lifeMs = 60_000
/** Of all tenants. Each is some two kilobytes. */
const mintedMax = 10_000
/** Authorizations of one user that have no session yet. */
const unusedPerUserMax = 1000

/**
 * The authorizations that were made here and are still good. Each is for one session; after the start of
 * the session it only gets that session to its target.
 *
 * When there are too many, the user with the most, in the tenant with the most, loses the oldest
 * one. So a rush of one user does not refuse a tenant, or a user, that has fewer.
 */
export class Mint {
  /** The authorization that expires first is first. */
  readonly #minted = new Map<string, Minted>()
  readonly #bySession = new Map<SessionId, string>()
  /** By tenant and user; the oldest first. */
  readonly #owners = new Map<TenantId, TenantShare>()
  /** Authorizations without a session, by user. */
  readonly #unused = new Map<string, number>()
  readonly #now: () => number
  readonly #max: number

  /** The clock must be one that cannot be set: milliseconds from any start. */
  constructor(now: () => number = () => performance.now(), max = mintedMax) {
    this.#now = now
    this.#max = max
  }

  /** Throws AuthorizationsExhausted. */
  make(facts: {
    readonly authorization: Omit<Authorization, 'id' | 'expiresAt'>
    readonly identity: Identity
    readonly kind: ChannelKind
    readonly grant: string
  }): Authorization {
    this.#forgetExpired()
    const { user, tenant } = facts.identity
    const unused = this.#unused.get(user.id) ?? 0
    if (unused >= unusedPerUserMax) throw new AuthorizationsExhausted()
    if (this.#minted.size >= this.#max) this.#makeRoom(tenant, user.id)
    const expiresAt = new Date(Date.now() + lifeMs).toISOString()
    const authorization = Object.freeze({ ...facts.authorization, id: randomUUID(), expiresAt })
    this.#add({ ...facts, authorization, session: undefined, goodUntilMs: this.#now() + lifeMs })
    return authorization
  }

  /** Gives it the one session that it is for. The number of those is bounded elsewhere. */
  use(minted: Minted, session: SessionId): void {
    const { id } = minted.authorization
    this.forget(id)
    // After the others, because it expires later.
    minted.session = session
    minted.goodUntilMs = this.#now() + lifeMs
    this.#add(minted)
  }

  /** The facts behind an authorization that was made here. Throws AuthorizationInvalid. */
  check(given: Authorization): Minted {
    const minted = this.#minted.get(given.id)
    if (minted === undefined || minted.goodUntilMs <= this.#now()) throw new AuthorizationInvalid()
    // A copy may have been changed.
    if (minted.authorization !== given) throw new AuthorizationInvalid()
    return minted
  }

  /** As check(), and the session must be the one that was started with it. */
  checkSession(given: Authorization, session: SessionId): Minted {
    const minted = this.check(given)
    if (minted.session !== session) throw new AuthorizationInvalid()
    return minted
  }

  forget(id: string): void {
    const minted = this.#minted.get(id)
    if (minted === undefined) return
    this.#minted.delete(id)
    const { tenant, user } = minted.identity
    const share = this.#owners.get(tenant)
    if (share?.delete(user.id, id) === true) this.#owners.delete(tenant)
    if (minted.session !== undefined) this.#bySession.delete(minted.session)
    else count(this.#unused, user.id, -1)
  }

  /** Its session has ended. */
  forgetSession(session: SessionId): void {
    this.forget(this.#bySession.get(session) ?? '')
  }

  #add(minted: Minted): void {
    const { id } = minted.authorization
    const { tenant, user } = minted.identity
    this.#minted.set(id, minted)
    const share = this.#owners.get(tenant) ?? new TenantShare()
    this.#owners.set(tenant, share)
    share.add(user.id, id)
    if (minted.session !== undefined) this.#bySession.set(minted.session, id)
    else count(this.#unused, user.id, 1)
  }

  /** Throws AuthorizationsExhausted if the asking user has the most. */
  #makeRoom(tenant: TenantId, user: string): void {
    const [owner, share] = largest(this.#owners)
    const [holder, ids] = largest(share.users)
    if (owner === tenant && holder === user) throw new AuthorizationsExhausted()
    const [oldest = ''] = ids
    this.forget(oldest)
  }

  #forgetExpired(): void {
    for (const [id, { goodUntilMs }] of this.#minted) {
      if (goodUntilMs > this.#now()) return
      this.forget(id)
    }
  }
}

/** The authorizations of one tenant. */
class TenantShare {
  readonly users = new Map<string, Set<string>>()
  size = 0

  add(user: string, id: string): void {
    const ids = this.users.get(user) ?? new Set()
    this.users.set(user, ids.add(id))
    this.size++
  }

  /** True when no authorization is left. */
  delete(user: string, id: string): boolean {
    const ids = this.users.get(user)
    if (ids?.delete(id) === true) this.size--
    if (ids?.size === 0) this.users.delete(user)
    return this.size === 0
  }
}

function largest<Key, Value extends { readonly size: number }>(
  shares: ReadonlyMap<Key, Value>,
): readonly [Key, Value] {
  return [...shares].reduce((most, one) => (one[1].size > most[1].size ? one : most))
}

function count(counts: Map<string, number>, name: string, by: number): void {
  const now = (counts.get(name) ?? 0) + by
  if (now <= 0) counts.delete(name)
  else counts.set(name, now)
}
