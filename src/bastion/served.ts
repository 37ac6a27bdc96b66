import type { Authorization, Forward, Wish } from '../access/index.ts'
import type { Identity } from '../auth/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { Admitted } from './admission.ts'
import type { ConnectionId } from './broker.ts'
import { ConnectionUnknown, RequestCrossed, RequestForged, SessionKilled } from './errors.ts'
import type { KillNotices } from './kill-notices.ts'

/** A key that was promised to one session, for one signature. */
export interface Leased {
  readonly authorization: Authorization
  readonly session: SessionId
}

/** A channel beside those of a session's own. */
export interface ServedForward {
  readonly forward: Forward
  readonly place: Authorization
  /** It is on record, and the worker is told of it. */
  isOpen: boolean
  /** Why it is not allowed any more, once that is so. */
  revoked: string | undefined
}

/** What is known of one connection of a worker's: who is on it, and what they were allowed. */
export interface Served {
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
  readonly leases: Map<string, Leased>
  /** With the authorization that each was started with. */
  readonly sessions: Map<SessionId, string>
  /** The last that have ended: what is asked for them has crossed with their end. */
  readonly ended: Set<SessionId>
  /** Open, and being opened. */
  readonly forwards: Map<string, ServedForward>
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

export function newServed(
  source: string,
  admitted: Admitted,
  stopTimer: () => void,
  outer?: Served['outer'],
): Served {
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
export class ServedConnections {
  readonly #served = new Map<ConnectionId, Served>()

  get size(): number {
    return this.#served.size
  }

  [Symbol.iterator](): IterableIterator<[ConnectionId, Served]> {
    return this.#served[Symbol.iterator]()
  }

  add(id: ConnectionId, served: Served): void {
    this.#served.set(id, served)
  }

  find(id: ConnectionId): Served | undefined {
    return this.#served.get(id)
  }

  require(id: ConnectionId): Served {
    const served = this.#served.get(id)
    if (served === undefined) throw new ConnectionUnknown()
    return served
  }

  /** A connection whose client has gone is known until what was asked for it is answered. */
  async during<T>(id: ConnectionId, served: Served, work: () => Promise<T>): Promise<T> {
    served.pending++
    try {
      return await work()
    } finally {
      served.pending--
      this.settle(id, served)
    }
  }

  settle(id: ConnectionId, served: Served): void {
    if (served.isClosed && served.sessions.size === 0 && served.pending === 0) {
      this.#served.delete(id)
    }
  }

  clear(): void {
    this.#served.clear()
  }
}

export function requireIdentity({ identity }: Served): Identity {
  if (identity === undefined) throw new RequestForged('a login')
  return identity
}

export function requireAuthorization(served: Served, id: string): Authorization {
  const authorization = served.authorizations.get(id)
  if (authorization === undefined) throw new RequestForged('an authorization')
  return authorization
}

/** The authorization that a session was started with. */
export function requireSession(served: Served, session: SessionId): Authorization {
  const authorization = served.sessions.get(session)
  if (authorization !== undefined) return requireAuthorization(served, authorization)
  throw served.ended.has(session) ? new RequestCrossed('a session') : new RequestForged('a session')
}

/** The same, of one that goes on: for what was killed nothing is done any more but its end. */
export function requireLive(served: Served, session: SessionId, kills: KillNotices): Authorization {
  const authorization = requireSession(served, session)
  const reason = kills.reasonFor(session)
  if (reason !== undefined) throw new SessionKilled(reason)
  return authorization
}

/** A session is over: nothing that was given for it is good any more. */
export function forgetSession(served: Served, session: SessionId): void {
  served.authorizations.delete(served.sessions.get(session) ?? '')
  served.sessions.delete(session)
  for (const [id, lease] of served.leases) if (lease.session === session) served.leases.delete(id)
  served.ended.add(session)
  for (const oldest of served.ended) {
    if (served.ended.size <= endedMax) break
    served.ended.delete(oldest)
  }
}

/** Authorizations that started no session, and can start none any more. */
export function forgetExpired({ authorizations, sessions }: Served): void {
  const used = new Set(sessions.values())
  for (const [id, { expiresAt }] of authorizations) {
    if (Date.parse(expiresAt) > Date.now()) return
    if (!used.has(id)) authorizations.delete(id)
  }
}
