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
  /** All that may be done with this login there. */
  readonly allow: readonly ChannelKind[]
  /** RFC 3339, UTC: until when a session may be started with it. */
  readonly expiresAt: string
  readonly keyFingerprint: string
  /** The only command that may run, in place of whatever is asked for. */
  readonly forceCommand?: string
}

/** An authorization as access keeps it, with what only access needs to know. */
export interface Minted {
  readonly authorization: Authorization
  readonly identity: Identity
  readonly kind: ChannelKind
  readonly grant: string
  /** Set when its one session was started. */
  session: SessionId | undefined
}

const lifeMs = 60_000
const mintedMax = 10_000
/** Of those that have no session yet, so that nobody's rush keeps the others out. */
const unusedPerUserMax = 1000

/**
 * The authorizations that were made here and are still good. Each is for one session; after that
 * and until it expires, it only gets that session to its target.
 */
export class Mint {
  readonly #minted = new Map<string, Minted>()
  /** How many of them each user has that have no session. */
  readonly #unused = new Map<string, number>()
  readonly #now: () => number

  constructor(now: () => number = () => Date.now()) {
    this.#now = now
  }

  /** Throws AuthorizationsExhausted. */
  make(facts: {
    readonly authorization: Omit<Authorization, 'id' | 'expiresAt'>
    readonly identity: Identity
    readonly kind: ChannelKind
    readonly grant: string
  }): Authorization {
    this.#forgetExpired()
    const person = facts.identity.user.id
    const theirs = this.#unused.get(person) ?? 0
    if (this.#minted.size >= mintedMax || theirs >= unusedPerUserMax) {
      throw new AuthorizationsExhausted()
    }
    const expiresAt = new Date(this.#now() + lifeMs).toISOString()
    const authorization = Object.freeze({ ...facts.authorization, id: randomUUID(), expiresAt })
    this.#minted.set(authorization.id, { ...facts, authorization, session: undefined })
    this.#unused.set(person, theirs + 1)
    return authorization
  }

  /** Gives it the one session that it is for; how many of those there may be is others' to say. */
  use(minted: Minted, session: SessionId): void {
    minted.session = session
    this.#leave(minted)
  }

  /** The facts behind an authorization that was made here. Throws AuthorizationInvalid. */
  check(given: Authorization): Minted {
    const minted = this.#minted.get(given.id)
    if (minted === undefined || Date.parse(minted.authorization.expiresAt) <= this.#now()) {
      throw new AuthorizationInvalid()
    }
    // A copy may have been changed.
    if (minted.authorization !== given) throw new AuthorizationInvalid()
    return minted
  }

  /** The same, and the session is the one that was started with it. */
  checkSession(given: Authorization, session: SessionId): Minted {
    const minted = this.check(given)
    if (minted.session !== session) throw new AuthorizationInvalid()
    return minted
  }

  forget(id: string): void {
    const minted = this.#minted.get(id)
    if (minted === undefined) return
    this.#minted.delete(id)
    if (minted.session === undefined) this.#leave(minted)
  }

  #leave({ identity }: Minted): void {
    const person = identity.user.id
    const left = (this.#unused.get(person) ?? 1) - 1
    if (left === 0) this.#unused.delete(person)
    else this.#unused.set(person, left)
  }

  /** Its session has ended: nothing is left to do with it. */
  forgetSession(session: SessionId): void {
    for (const [id, minted] of this.#minted) {
      if (minted.session === session) return this.forget(id)
    }
  }

  /** All live equally long, so the oldest expire first. */
  #forgetExpired(): void {
    for (const [id, { authorization }] of this.#minted) {
      if (Date.parse(authorization.expiresAt) > this.#now()) return
      this.forget(id)
    }
  }
}
