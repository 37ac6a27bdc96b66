import type { Authorization, Forward, Wish } from '../../access/index.ts'
import type { Identity } from '../../auth/index.ts'
import type { SessionId } from '../../recorder/index.ts'
import type { ConnectionId } from '../wire/calls.ts'
import { SessionKilled } from '../wire/errors.ts'
import type { KillNotices } from '../wire/kill-notices.ts'
import type { Admitted } from './admission.ts'
import { ConnectionUnknown, RequestCrossed, RequestForged } from './errors.ts'

/** A key that was promised to one session, for one signature. */
export interface LeaseState {
  readonly authorization: Authorization
  readonly session: SessionId
}

/** A channel beside those of a session's own. */
export interface ForwardState {
  readonly forward: Forward
  readonly place: Authorization
  /** It is on record, and the worker is told of it. */
  isOpen: boolean
  /** Why it is not allowed any more, once that is so. */
  revoked: string | undefined
}

/** What is known of one connection of a worker's: who is on it, and what they were allowed. */
export interface ConnectionState {
  readonly source: string
  readonly admitted: Admitted
  readonly stopTimer: () => void
  identity: Identity | undefined
  wish: Pick<Wish, 'target' | 'login' | 'preferredLogin'> | undefined
  /** Of a jump: the connection that it goes through, and where to. */
  readonly outer?: { readonly id: ConnectionId; readonly target: string }
  /** The jumps that go through it. */
  readonly inner: Set<ConnectionId>
  readonly authorizations: Map<string, Authorization>
  readonly leases: Map<string, LeaseState>
  /** With the authorization that each was started with. */
  readonly sessions: Map<SessionId, string>
  /** The last that have ended: what is asked for them has crossed with their end. */
  readonly ended: Set<SessionId>
  /** Open, and being opened. */
  readonly forwards: Map<string, ForwardState>
  /** Logins are looked at one after the other. */
  login: Promise<unknown>
  tries: number
  /** Answers that are on their way: until they are there, it is not over. */
  pending: number
  isCounted: boolean
  hasLeft: boolean
  isClosed: boolean
}

const endedMax = 256

export function newConnectionState(
  source: string,
  admitted: Admitted,
  stopTimer: () => void,
  outer?: ConnectionState['outer'],
): ConnectionState {
  return {
    source,
    admitted,
    stopTimer,
    identity: undefined,
    wish: undefined,
    ...(outer === undefined ? {} : { outer }),
    inner: new Set(),
    authorizations: new Map(),
    leases: new Map(),
    sessions: new Map(),
    ended: new Set(),
    forwards: new Map(),
    login: Promise.resolve(),
    tries: 0,
    pending: 0,
    isCounted: false,
    hasLeft: false,
    isClosed: false,
  }
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

  add(id: ConnectionId, state: ConnectionState): void {
    this.#states.set(id, state)
  }

  find(id: ConnectionId): ConnectionState | undefined {
    return this.#states.get(id)
  }

  require(id: ConnectionId): ConnectionState {
    const state = this.#states.get(id)
    if (state === undefined) throw new ConnectionUnknown()
    return state
  }

  /** A connection whose client has gone is known until what was asked for it is answered. */
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

export function requireIdentity({ identity }: ConnectionState): Identity {
  if (identity === undefined) throw new RequestForged('a login')
  return identity
}

export function requireAuthorization(state: ConnectionState, id: string): Authorization {
  const authorization = state.authorizations.get(id)
  if (authorization === undefined) throw new RequestForged('an authorization')
  return authorization
}

/** The authorization that a session was started with. */
export function requireSession(state: ConnectionState, session: SessionId): Authorization {
  const authorization = state.sessions.get(session)
  if (authorization !== undefined) return requireAuthorization(state, authorization)
  throw state.ended.has(session) ? new RequestCrossed('a session') : new RequestForged('a session')
}

/** The same, of one that goes on: for what was killed nothing is done any more but its end. */
export function requireLive(
  state: ConnectionState,
  session: SessionId,
  kills: KillNotices,
): Authorization {
  const authorization = requireSession(state, session)
  const reason = kills.reasonFor(session)
  if (reason !== undefined) throw new SessionKilled(reason)
  return authorization
}

/** A session is over: nothing that was given for it is good any more. */
export function forgetSession(state: ConnectionState, session: SessionId): void {
  state.authorizations.delete(state.sessions.get(session) ?? '')
  state.sessions.delete(session)
  for (const [id, lease] of state.leases) if (lease.session === session) state.leases.delete(id)
  state.ended.add(session)
  for (const oldest of state.ended) {
    if (state.ended.size <= endedMax) break
    state.ended.delete(oldest)
  }
}

/** Authorizations that started no session, and can start none any more. */
export function forgetExpired({ authorizations, sessions }: ConnectionState): void {
  const used = new Set(sessions.values())
  for (const [id, { expiresAt }] of authorizations) {
    if (Date.parse(expiresAt) > Date.now()) return
    if (!used.has(id)) authorizations.delete(id)
  }
}
