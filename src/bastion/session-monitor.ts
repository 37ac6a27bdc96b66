import type { Access, ChannelKind, FileOperation, SessionOutcome } from '../access/index.ts'
import type { Log } from '../log.ts'
import type { SessionId } from '../recorder/index.ts'
import { type HostProof, parseUserauthRequest, verifyHostProof, WireError } from '../ssh/index.ts'
import type { KeyLease, Vault } from '../vault/index.ts'
import type { ConnectionId, StartFacts } from './broker.ts'
import { RequestCrossed, RequestForged, SessionsExhausted } from './errors.ts'
import type { ForwardMonitor } from './forward-monitor.ts'
import type { Headcount } from './headcount.ts'
import type { KillNotices } from './kill-notices.ts'
import {
  forgetSession,
  requireAuthorization,
  requireIdentity,
  requireLive,
  requireSession,
  type ServedConnections,
} from './served.ts'

export interface SessionMonitorDeps {
  readonly access: Pick<
    Access,
    | 'startSession'
    | 'leaseKey'
    | 'checkHostKey'
    | 'upstreamOpened'
    | 'recordFiles'
    | 'endSession'
    | 'interruptSessions'
  >
  readonly vault: Pick<Vault, 'sign'>
  readonly sessionsOf: Headcount
  readonly node: string
  readonly log: Log
}

const recordedKinds: ReadonlySet<ChannelKind> = new Set(['shell', 'exec', 'sftp'])

/** What one worker does for sessions: their start, the keys that are used in them, and their end. */
export class SessionMonitor {
  readonly #deps: SessionMonitorDeps
  readonly #connections: ServedConnections
  readonly #forwards: ForwardMonitor
  readonly #kills: KillNotices
  #isLost = false

  constructor(
    deps: SessionMonitorDeps,
    connections: ServedConnections,
    kills: KillNotices,
    forwards: ForwardMonitor,
  ) {
    this.#deps = deps
    this.#kills = kills
    this.#connections = connections
    this.#forwards = forwards
  }

  get count(): number {
    let sum = 0
    for (const [, { sessions }] of this.#connections) sum += sessions.size
    return sum
  }

  has(session: SessionId): boolean {
    for (const [, { sessions }] of this.#connections) if (sessions.has(session)) return true
    return false
  }

  async start(id: ConnectionId, authorization: string, facts: StartFacts) {
    const { access, sessionsOf, node } = this.#deps
    const served = this.#connections.require(id)
    const allowed = requireAuthorization(served, authorization)
    const user = allowed.user.id
    if (!sessionsOf.enter(user)) throw new SessionsExhausted()
    try {
      const via = served.outer === undefined ? {} : ({ via: 'jump' } as const)
      const recording = recordedKinds.has(facts.kind)
      const start = { ...facts, ...via, source: served.source, node, recording }
      return await this.#connections.during(id, served, async () => {
        const started = await access.startSession(allowed, start)
        if (!this.#isLost) {
          served.sessions.set(started.session, authorization)
          return started
        }
        // The worker went while its session was started: nobody else would end it.
        const outcome = { tenant: allowed.tenant, bytes: 0, reason: 'interrupted' }
        await access.endSession(started.session, outcome)
        throw new RequestCrossed('a session')
      })
    } catch (err) {
      sessionsOf.leave(user)
      served.authorizations.delete(authorization)
      throw err
    }
  }

  async leaseKey(id: ConnectionId, authorization: string, session: SessionId): Promise<KeyLease> {
    const served = this.#connections.require(id)
    const allowed = requireAuthorization(served, authorization)
    requireLive(served, session, this.#kills)
    const lease = await this.#connections.during(id, served, () =>
      this.#deps.access.leaseKey(allowed, session),
    )
    requireLive(served, session, this.#kills)
    // One at a time: whoever asks anew has no use for the last one.
    for (const [old, { session: of }] of served.leases) {
      if (of === session) served.leases.delete(old)
    }
    served.leases.set(lease.id, { authorization: allowed, session })
    return lease
  }

  async checkHostKey(id: ConnectionId, authorization: string, blob: Buffer): Promise<boolean> {
    const allowed = requireAuthorization(this.#connections.require(id), authorization)
    return this.#deps.access.checkHostKey(allowed, blob)
  }

  /**
   * A signature is good at whatever host took part in the key exchange that it is about, and the same
   * key opens many: without that host's own signature, of that exchange, there is none of ours.
   */
  async sign(
    id: ConnectionId,
    lease: string,
    data: Buffer,
    algorithm: string,
    proof: HostProof,
  ): Promise<Buffer> {
    const served = this.#connections.require(id)
    const leased = served.leases.get(lease)
    if (leased === undefined) throw new RequestForged('a key')
    served.leases.delete(lease)
    requireLive(served, leased.session, this.#kills)
    const { exchangeHash } = readLogin(data)
    const isThere = verifyHostProof(proof, exchangeHash)
    const { access, vault } = this.#deps
    if (!isThere || !(await access.checkHostKey(leased.authorization, proof.hostKey))) {
      throw new RequestForged('a login at another host')
    }
    requireLive(served, leased.session, this.#kills)
    return vault.sign(lease, data, algorithm)
  }

  async upstreamOpened(id: ConnectionId, authorization: string, session: SessionId) {
    const served = this.#connections.require(id)
    requireAuthorization(served, authorization)
    const startedWith = requireLive(served, session, this.#kills)
    if (startedWith.id !== authorization) throw new RequestForged('a session')
    await this.#deps.access.upstreamOpened(startedWith, session)
    requireLive(served, session, this.#kills)
  }

  /** Of a session that was killed too: what was done before is on record. */
  async recordFiles(
    id: ConnectionId,
    session: SessionId,
    operations: readonly FileOperation[],
  ): Promise<void> {
    const served = this.#connections.require(id)
    const place = requireSession(served, session)
    const identity = requireIdentity(served)
    await this.#connections.during(id, served, () =>
      this.#deps.access.recordFiles(identity, place, session, operations),
    )
  }

  async end(
    id: ConnectionId,
    session: SessionId,
    outcome: Omit<SessionOutcome, 'tenant'>,
  ): Promise<void> {
    const { access, sessionsOf, log } = this.#deps
    const served = this.#connections.require(id)
    requireSession(served, session)
    const { user, tenant } = requireIdentity(served)
    // Taken first: what is ended twice is ended once.
    forgetSession(served, session)
    sessionsOf.leave(user.id)
    await this.#connections.during(id, served, async () => {
      try {
        await this.#forwards.closeOf(served, session)
      } catch (err) {
        // The session ends whether or not that can be said of what was open in it.
        log.error({ err, session }, 'forwards of a session could not be ended on record')
      }
      await access.endSession(session, { ...outcome, tenant })
    })
  }

  /** The worker is no more: what it had open, which nobody else would end. */
  lost() {
    this.#isLost = true
    return [...this.#connections].flatMap(([, served]) => {
      const { identity, sessions } = served
      if (identity === undefined) return []
      const { tenant, user } = identity
      return [...sessions.keys()].map((session) => {
        forgetSession(served, session)
        this.#deps.sessionsOf.leave(user.id)
        return { tenant, session }
      })
    })
  }
}

function readLogin(data: Buffer) {
  try {
    return parseUserauthRequest(data)
  } catch (err) {
    if (err instanceof WireError) throw new RequestForged('a signature of what is no login')
    throw err
  }
}
