import { createHash } from 'node:crypto'
import type { Access, ChannelKind, SessionOutcome } from '../../access/index.ts'
import type { Headcount } from '../../headcount.ts'
import type { Log } from '../../log.ts'
import type { TenantId } from '../../postgres/index.ts'
import type { SessionId } from '../../recorder/index.ts'
import { type HostProof, readProvenLogin } from '../../ssh/index.ts'
import type { KeyLease, Vault } from '../../vault/index.ts'
import type { ConnectionId, FileNotes, FileOperation, StartFacts } from '../wire/calls.ts'
import { KillNotices } from '../wire/kill-notices.ts'
import {
  type ConnectionTable,
  forgetSession,
  requireAuthorization,
  requireIdentity,
  requireLive,
  requireSession,
  unknownTo,
} from './connection-state.ts'
import { HostKeyReplaced, RequestCrossed, RequestForged, SessionsExhausted } from './errors.ts'
import { FileMonitor, type FileMonitorDeps } from './file-monitor.ts'
import type { ForwardMonitor } from './forward-monitor.ts'

export interface SessionMonitorDeps extends FileMonitorDeps {
  readonly access: Pick<
    Access,
    | 'startSession'
    | 'leaseKey'
    | 'checkHostKey'
    | 'upstreamOpened'
    | 'endSession'
    | 'interruptSessions'
  > &
    FileMonitorDeps['access']
  readonly vault: Pick<Vault, 'sign'>
  readonly sessionsOf: Headcount
  readonly node: string
  readonly log: Log
}

const recordedKinds: ReadonlySet<ChannelKind> = new Set(['shell', 'exec', 'sftp'])

/** The calls of one worker about its sessions: their start, the keys that are used in them, and their end. */
export class SessionMonitor {
  readonly #deps: SessionMonitorDeps
  readonly #connections: ConnectionTable
  readonly #forwards: ForwardMonitor
  readonly #kills = new KillNotices()
  readonly #files: FileMonitor
  #isLost = false

  constructor(deps: SessionMonitorDeps, connections: ConnectionTable, forwards: ForwardMonitor) {
    this.#deps = deps
    this.#files = new FileMonitor(deps)
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

  /** Word of a kill can come before the answer to the start: it is kept until then. */
  kill(session: SessionId, reason: string): void {
    this.#kills.note(session, reason)
    for (const [, { sessions }] of this.#connections) {
      const known = sessions.get(session)
      if (known !== undefined) known.killed ??= reason
    }
  }

  async start(id: ConnectionId, authorization: string, facts: StartFacts) {
    const { access, sessionsOf, node } = this.#deps
    const state = this.#connections.require(id)
    const { authorization: allowed } = requireAuthorization(state, authorization)
    const user = allowed.user.id
    if (!sessionsOf.enter(user)) throw new SessionsExhausted()
    try {
      const via = state.outer === undefined ? ('direct' as const) : ('jump' as const)
      const recording = recordedKinds.has(facts.kind)
      const start = { ...facts, via, source: state.source, node, recording }
      return await this.#connections.during(id, state, async () => {
        const started = await access.startSession(allowed, start)
        if (!this.#isLost) {
          const killed = this.#kills.reasonFor(started.session)
          state.sessions.set(started.session, { authorization, killed })
          return started
        }
        // The worker ended while its session was started, and does not end it.
        const outcome = { tenant: allowed.tenant, bytes: 0, reason: 'interrupted' }
        await access.endSession(started.session, outcome)
        throw new RequestCrossed('a session')
      })
    } catch (err) {
      sessionsOf.leave(user)
      state.authorizations.delete(authorization)
      throw err
    }
  }

  async leaseKey(id: ConnectionId, authorization: string, session: SessionId): Promise<KeyLease> {
    const state = this.#connections.require(id)
    const allowed = requireAuthorization(state, authorization)
    requireLive(state, session)
    const lease = await this.#connections.during(id, state, () =>
      this.#deps.access.leaseKey(allowed.authorization, session),
    )
    requireLive(state, session)
    // One lease at a time: a session that dials again does not use the earlier one.
    for (const [old, { session: of }] of state.leases) {
      if (of === session) state.leases.delete(old)
    }
    state.leases.set(lease.id, { allowed, session })
    return lease
  }

  async checkHostKey(id: ConnectionId, authorization: string, blob: Buffer): Promise<boolean> {
    const allowed = requireAuthorization(this.#connections.require(id), authorization)
    const isGood = await this.#deps.access.checkHostKey(allowed.authorization, blob)
    // A certificate may be long, and each session would keep one.
    if (isGood) allowed.hostKeyDigest = digestOf(blob)
    return isGood
  }

  /**
   * Signs a login at a target. A signature is valid at the host that took part in its key exchange,
   * and the same key opens many hosts. So that host must have signed the exchange, with a key on
   * record for the target.
   */
  async sign(
    id: ConnectionId,
    lease: string,
    data: Buffer,
    algorithm: string,
    proof: HostProof,
  ): Promise<Buffer> {
    const state = this.#connections.require(id)
    const leased = state.leases.get(lease)
    if (leased === undefined) throw unknownTo(state, 'a key', ({ leases }) => leases.has(lease))
    state.leases.delete(lease)
    requireLive(state, leased.session)
    const { access, vault } = this.#deps
    const { authorization, hostKeyDigest } = leased.allowed
    // A worker makes these two checks before it asks for a signature.
    const isKnown =
      hostKeyDigest?.equals(digestOf(proof.hostKey)) === true ||
      authorization.target.hostKeys.some(({ blob }) => blob.equals(proof.hostKey))
    if (!isKnown || readProvenLogin(data, proof) === undefined) {
      throw new RequestForged('a login at another host')
    }
    // A certificate may have been revoked since, or have expired.
    if (!(await access.checkHostKey(authorization, proof.hostKey))) throw new HostKeyReplaced()
    requireLive(state, leased.session)
    return vault.sign(lease, data, algorithm)
  }

  async upstreamOpened(id: ConnectionId, authorization: string, session: SessionId) {
    const state = this.#connections.require(id)
    requireAuthorization(state, authorization)
    const startedWith = requireLive(state, session)
    if (startedWith.id !== authorization) throw new RequestForged('a session')
    await this.#deps.access.upstreamOpened(startedWith, session)
    requireLive(state, session)
  }

  /** Also for a killed session: the log lists all operations before the end. */
  noteFiles(id: ConnectionId, session: SessionId, notes: FileNotes): void {
    const state = this.#connections.require(id)
    const authorization = requireSession(state, session)
    this.#files.note(session, requireIdentity(state), authorization, notes)
  }

  /** Also for a session that was killed: the operations before that are put on record. */
  async recordFiles(
    id: ConnectionId,
    session: SessionId,
    operations: readonly FileOperation[],
  ): Promise<void> {
    const state = this.#connections.require(id)
    const authorization = requireSession(state, session)
    const identity = requireIdentity(state)
    await this.#connections.during(id, state, () =>
      this.#files.record(session, identity, authorization, operations),
    )
  }

  async end(
    id: ConnectionId,
    session: SessionId,
    outcome: Omit<SessionOutcome, 'tenant'>,
  ): Promise<void> {
    const { access, sessionsOf, log } = this.#deps
    const state = this.#connections.require(id)
    requireSession(state, session)
    const { user, tenant } = requireIdentity(state)
    // Forgotten first, so that a second end changes nothing.
    forgetSession(state, session)
    sessionsOf.leave(user.id)
    await this.#connections.during(id, state, async () => {
      try {
        await this.#forwards.closeOf(state, session)
      } catch (err) {
        // The session ends even if the ends of its forwards and files cannot be written.
        log.error({ err, session }, 'forwards of a session could not be ended on record')
      }
      try {
        await this.#files.end(session)
      } catch (err) {
        // They are tried again until they are written.
        log.error({ err, session }, 'file operations of a session could not be put on record yet')
      }
      await access.endSession(session, { ...outcome, tenant })
    })
  }

  /** The worker has ended. Returns the tenants with file operations to log. */
  abandonFiles(): readonly TenantId[] {
    return this.#files.abandon()
  }

  /** Resolves after an attempt to log a tenant's file operations; see FileMonitor. */
  filesTold(tenant: TenantId): Promise<void> {
    return this.#files.told(tenant)
  }

  /** The worker has ended. Returns its sessions, which are to be ended on record. */
  lost() {
    this.#isLost = true
    return [...this.#connections].flatMap(([, state]) => {
      const { identity, sessions } = state
      if (identity === undefined) return []
      const { tenant, user } = identity
      return [...sessions.keys()].map((session) => {
        forgetSession(state, session)
        this.#deps.sessionsOf.leave(user.id)
        return { tenant, session }
      })
    })
  }
}

function digestOf(hostKey: Buffer): Buffer {
  return createHash('sha256').update(hostKey).digest()
}
