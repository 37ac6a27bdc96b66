import type { AccessAttempt, Authorization, Forward } from '../../access/index.ts'
import type { Identity } from '../../auth/index.ts'
import type { SessionId } from '../../recorder/index.ts'
import type { ConnectionId } from '../wire/calls.ts'
import { SessionKilled } from '../wire/errors.ts'
import type { Admitted } from './admission.ts'
import { ConnectionUnknown, RequestCrossed, RequestForged } from './errors.ts'

/** An authorization starts a session within a minute, or never. */
const unusedMs = 120_000

/** An authorization that the worker was given. */
export interface AuthorizationState {
  readonly authorization: Authorization
  /** On the clock of performance.now(). */
  readonly givenAtMs: number
  /** The host key, or host certificate, that was last accepted for its target: the worker may rely on it. */
  hostKeyDigest: Buffer | undefined
}

/** A session that has not ended. */
export interface SessionState {
  /** The id of the authorization that it was started with. */
  readonly authorization: string
  /** Why it was killed, once it was: from then on only its end is put on record, however late that is. */
  killed: string | undefined
}

/** The right to one signature, for one session, with the key for its target. */
export interface LeaseState {
  readonly allowed: AuthorizationState
  readonly session: SessionId
}

/** A channel beside those of a session's own. */
export interface ForwardState {
  readonly forward: Forward
  readonly authorization: Authorization
  /** The forward is on record, and the worker knows of it. */
  isOpen: boolean
  /** Why it is not allowed any longer, once that is so. */
  revoked: string | undefined
}

/** A connection of a worker: its user, and the things that the user was allowed. */
export interface ConnectionState {
  /** All connections of the worker. */
  readonly table: ConnectionTable
  readonly source: string
  readonly admitted: Admitted
  readonly stopTimer: () => void
  /** In the key exchange that a login on this connection signs. */
  readonly cookie: Buffer
  readonly openedAtMs: number
  identity: Identity | undefined
  named: Pick<AccessAttempt, 'target' | 'login' | 'preferredLogin'> | undefined
  /** Of a jump: the connection that it goes through, and its target. */
  readonly outer?: { readonly id: ConnectionId; readonly target: string }
  /** The jumps that go through it. */
  readonly inner: Set<ConnectionId>
  readonly authorizations: Map<string, AuthorizationState>
  readonly leases: Map<string, LeaseState>
  readonly sessions: Map<SessionId, SessionState>
  /** Forwards that are open or being opened. */
  readonly forwards: Map<string, ForwardState>
  /** The last login: each is verified after the one before. */
  login: Promise<unknown>
  tries: number
  /** Calls without an answer. The connection is kept until there are none. */
  pending: number
  isCounted: boolean
  hasLeft: boolean
  isClosed: boolean
}

export interface NewConnection {
  readonly source: string
  readonly admitted: Admitted
  readonly stopTimer: () => void
  readonly cookie: Buffer
  readonly outer: ConnectionState['outer']
}

/** The connections of one worker. */
export class ConnectionTable {
  readonly #states = new Map<ConnectionId, ConnectionState>()

  get size(): number {
    return this.#states.size
  }

  [Symbol.iterator](): IterableIterator<[ConnectionId, ConnectionState]> {
    return this.#states[Symbol.iterator]()
  }

  add(id: ConnectionId, { source, admitted, stopTimer, cookie, outer }: NewConnection): void {
    this.#states.set(id, {
      table: this,
      source,
      admitted,
      stopTimer,
      cookie,
      openedAtMs: performance.now(),
      identity: undefined,
      named: undefined,
      ...(outer === undefined ? {} : { outer }),
      inner: new Set(),
      authorizations: new Map(),
      leases: new Map(),
      sessions: new Map(),
      forwards: new Map(),
      login: Promise.resolve(),
      tries: 0,
      pending: 0,
      isCounted: false,
      hasLeft: false,
      isClosed: false,
    })
  }

  find(id: ConnectionId): ConnectionState | undefined {
    return this.#states.get(id)
  }

  require(id: ConnectionId): ConnectionState {
    const state = this.#states.get(id)
    if (state === undefined) throw new ConnectionUnknown()
    return state
  }

  /** The connections of one user, with the connections inside their jumps. */
  *ofUser(user: string): Iterable<ConnectionState> {
    for (const state of this.#states.values()) if (state.identity?.user.id === user) yield state
  }

  /** Keeps a connection whose client has left until the work is done. */
  async during<T>(id: ConnectionId, state: ConnectionState, work: () => Promise<T>): Promise<T> {
    state.pending++
    try {
      return await work()
    } finally {
      state.pending--
      this.settle(id, state)
    }
  }

  settle(id: ConnectionId, state: ConnectionState): void {
    if (state.isClosed && state.sessions.size === 0 && state.pending === 0) {
      this.#states.delete(id)
    }
  }

  clear(): void {
    this.#states.clear()
  }
}

/**
 * The error for a name that a connection does not have. A worker that names a thing of another connection
 * was taken over. A name that no connection has may be that of a thing that has ended.
 */
export function unknownTo(
  { table }: ConnectionState,
  what: string,
  has: (other: ConnectionState) => boolean,
): RequestForged | RequestCrossed {
  for (const [, other] of table) if (has(other)) return new RequestForged(what)
  return new RequestCrossed(what)
}

export function requireIdentity({ identity }: ConnectionState): Identity {
  if (identity === undefined) throw new RequestForged('a login')
  return identity
}

export function requireAuthorization(state: ConnectionState, id: string): AuthorizationState {
  const allowed = state.authorizations.get(id)
  if (allowed !== undefined) return allowed
  throw unknownTo(state, 'an authorization', ({ authorizations }) => authorizations.has(id))
}

/** The authorization that a session was started with. */
export function requireSession(state: ConnectionState, session: SessionId): Authorization {
  const known = state.sessions.get(session)
  if (known !== undefined) return requireAuthorization(state, known.authorization).authorization
  throw unknownTo(state, 'a session', ({ sessions }) => sessions.has(session))
}

/** The same for a session that goes on: for a killed one only its end is put on record. */
export function requireLive(state: ConnectionState, session: SessionId): Authorization {
  const authorization = requireSession(state, session)
  const reason = state.sessions.get(session)?.killed
  if (reason !== undefined) throw new SessionKilled(reason)
  return authorization
}

/** A session is over, and so is everything that was given for it. */
export function forgetSession(state: ConnectionState, session: SessionId): void {
  state.authorizations.delete(state.sessions.get(session)?.authorization ?? '')
  state.sessions.delete(session)
  for (const [id, lease] of state.leases) if (lease.session === session) state.leases.delete(id)
}

/** Forgets the authorizations that have started no session and can no longer start one. */
export function forgetExpired({ authorizations, sessions }: ConnectionState): void {
  const used = new Set([...sessions.values()].map(({ authorization }) => authorization))
  for (const [id, { givenAtMs }] of authorizations) {
    if (performance.now() - givenAtMs < unusedMs) return
    if (!used.has(id)) authorizations.delete(id)
  }
}
