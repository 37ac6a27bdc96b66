import { randomBytes, randomUUID } from 'node:crypto'
import type { Access, Authorization, ChannelKind, Denial } from '../../access/index.ts'
import type { LogPace } from '../../audit/index.ts'
import type { Headcount } from '../../headcount.ts'
import type { Log } from '../../log.ts'
import type { TenantId } from '../../postgres/index.ts'
import type { Recorder, RecordingPoint, SessionId, Unended } from '../../recorder/index.ts'
import { cookieBytes, type Departure, type ServerHostKey } from '../../ssh/index.ts'
import type { TurnOwner, Turns } from '../../turns.ts'
import type {
  Broker,
  ChoicePage,
  ChoiceQuery,
  ConnectionId,
  FileNotes,
  Jump,
} from '../wire/calls.ts'
import type { Destination } from '../wire/destination.ts'
import type { Admitted } from './admission.ts'
import {
  type ConnectionState,
  ConnectionTable,
  forgetExpired,
  requireIdentity,
} from './connection-state.ts'
import { AuthorizationsExhausted, JumpsExhausted, RequestCrossed, RequestForged } from './errors.ts'
import { ForwardMonitor, type ForwardMonitorDeps } from './forward-monitor.ts'
import type { JumpCertificates } from './jump-certificates.ts'
import { LoginMonitor, type LoginMonitorDeps } from './login-monitor.ts'
import type { BastionMetrics } from './metrics.ts'
import type { Penalties } from './penalties.ts'
import { SessionMonitor, type SessionMonitorDeps } from './session-monitor.ts'
import { TenantRetries } from './tenant-retries.ts'

/** The dependencies of all monitors. */
export interface MonitorDeps extends LoginMonitorDeps, SessionMonitorDeps, ForwardMonitorDeps {
  readonly access: Pick<
    Access,
    'authorize' | 'authorizeJump' | 'listChoices' | 'witnessRecording'
  > &
    SessionMonitorDeps['access'] &
    ForwardMonitorDeps['access']
  readonly recorder: Pick<Recorder, 'recover'>
  readonly metrics: BastionMetrics
  readonly jumpCertificates: Pick<JumpCertificates, 'certificateFor'>
  /** Those that workers show. */
  readonly hostKeys: () => Promise<readonly ServerHostKey[]>
  readonly penalties: Pick<Penalties, 'left' | 'forget'> & LoginMonitorDeps['penalties']
  /** Calls of all workers, except logins, take one: each tenant has a fair share of the database. */
  readonly callTurns: Turns
  /** The number of the worker that a monitor is for. */
  readonly worker?: number
  readonly logPace: LogPace
  /** Authorizations of a user that have started no session: as many as one connection may have, unless given. */
  readonly unusedPerUserMax?: number
  readonly connectionsOf: Headcount
  readonly log: Log
}

/** The share of connections without a login. No tenant has this id. */
const strangers = 'strangers'
/** Of one connection, those of sessions that are not over: a worker keeps fewer. */
const openAuthorizationsMax = 4096
/** Names that a menu gets at once: some screens of them. */
const choicesPerPage = 200
/** Of one connection, at a time. */
const jumpsMax = 16

/**
 * The privileged half of one worker, as in OpenSSH's privilege separation. It serves a worker that
 * it does not trust: it verifies by itself which user is on a connection, remembers the
 * authorizations, and accepts from the worker only names of things that it gave to it.
 */
export class Monitor implements Broker {
  readonly #deps: MonitorDeps
  readonly #connections = new ConnectionTable()
  readonly #logins: LoginMonitor
  readonly #sessions: SessionMonitor
  readonly #forwards: ForwardMonitor
  /** Sessions of a worker that has ended; they are not ended on record yet: by tenant. */
  readonly #unended = new Map<TenantId, readonly Unended[]>()
  readonly #interruptions: TenantRetries

  readonly login: Broker['login']
  readonly enterJump: Broker['enterJump']
  readonly startSession: Broker['startSession']
  readonly leaseKey: Broker['leaseKey']
  readonly checkHostKey: Broker['checkHostKey']
  readonly sign: Broker['sign']
  readonly upstreamOpened: Broker['upstreamOpened']
  readonly recordFiles: Broker['recordFiles']
  readonly endSession: Broker['endSession']
  readonly openForward: Broker['openForward']
  readonly closeForward: Broker['closeForward']

  constructor(deps: MonitorDeps) {
    this.#deps = deps
    const logins = new LoginMonitor(deps, this.#connections)
    const forwards = new ForwardMonitor(deps, this.#connections)
    const sessions = new SessionMonitor(deps, this.#connections, forwards)
    this.#logins = logins
    this.#sessions = sessions
    this.#forwards = forwards
    const what = 'ends of sessions of a lost worker'
    this.#interruptions = new TenantRetries((tenant) => this.#interrupt(tenant), deps.log, what)
    this.login = (...args) => logins.login(...args)
    this.enterJump = (...args) => logins.enterJump(...args)
    this.startSession = (...args) => sessions.start(...args)
    this.leaseKey = (...args) => sessions.leaseKey(...args)
    this.checkHostKey = (...args) => sessions.checkHostKey(...args)
    this.sign = (...args) => sessions.sign(...args)
    this.upstreamOpened = (...args) => sessions.upstreamOpened(...args)
    this.recordFiles = (...args) => sessions.recordFiles(...args)
    this.endSession = (...args) => sessions.end(...args)
    this.openForward = (...args) => forwards.open(...args)
    this.closeForward = (...args) => forwards.close(...args)
  }

  get connections(): number {
    return this.#connections.size
  }

  /** How many logins were accepted. */
  get logins(): number {
    return this.#logins.count
  }

  get sessions(): number {
    return this.#sessions.count
  }

  hasSession(session: SessionId): boolean {
    return this.#sessions.has(session)
  }

  /** An operator or a removed right has ended the session: only its end is still processed. */
  kill(session: SessionId, reason: string): void {
    this.#sessions.kill(session, reason)
  }

  /**
   * The worker reports which part of a recording is durable. Does nothing for a session that it
   * does not have.
   */
  recorded(id: ConnectionId, session: SessionId, point: RecordingPoint): void {
    const state = this.#connections.find(id)
    if (state?.sessions.has(session)) this.#deps.access.witnessRecording(session, point)
  }

  /** The same for one forward. False: the worker has no such forward. */
  revokeForward(forward: string, reason: string): boolean {
    return this.#forwards.revoke(forward, reason)
  }

  hasForward(forward: string): boolean {
    return this.#forwards.has(forward)
  }

  /** Keeps in memory the file operations that a client asks for. Throws RequestForged. */
  noteFiles(id: ConnectionId, session: SessionId, notes: FileNotes): void {
    this.#sessions.noteFiles(id, session, notes)
  }

  /** The tenant and user of a call on this connection; before a login, its source address. */
  ownerOf(id: ConnectionId): TurnOwner {
    const state = this.#connections.find(id)
    const identity = state?.identity
    return identity === undefined
      ? { tenant: strangers, user: state?.source ?? '' }
      : { tenant: identity.tenant, user: identity.user.id }
  }

  /**
   * The worker gets this connection. Returns the cookie for its key exchange, 16 random bytes: a login
   * signs the exchange, so one that was made on another connection, at any time, is known by its cookie.
   */
  open(
    id: ConnectionId,
    source: string,
    admitted: Admitted,
    outer?: ConnectionState['outer'],
  ): Buffer {
    const { handshakeSeconds, connections } = this.#deps.metrics
    const stopTimer = handshakeSeconds.startTimer()
    const cookie = randomBytes(cookieBytes)
    this.#connections.add(id, { source, admitted, stopTimer, cookie, outer })
    connections.inc()
    return cookie
  }

  /**
   * The worker says that the client left without a login, and how. That counts once for each connection that
   * this process has accepted: a worker opens jumps at will.
   */
  left(id: ConnectionId, how: Departure): void {
    const { metrics, penalties, log } = this.#deps
    const state = this.#connections.find(id)
    if (state === undefined || state.identity !== undefined || state.hasLeft) return
    if (state.outer !== undefined) return
    state.hasLeft = true
    const { source } = state
    metrics.departures.inc({ how })
    if (!penalties.left(source, how, this.#deps.worker)) return
    metrics.heldSources.inc()
    log.warn({ source, how }, 'an address is refused: too many of its connections had no login')
  }

  /** The worker reports that the client has left; sessions that it still has to end stay known. */
  close(id: ConnectionId): void {
    const state = this.#connections.find(id)
    if (state === undefined || state.isClosed) return
    state.isClosed = true
    state.admitted.release()
    this.#deps.metrics.connections.dec()
    // The session's forwards end with it, before the worker reports it.
    for (const inner of state.inner) this.close(inner)
    if (state.outer !== undefined) this.#connections.find(state.outer.id)?.inner.delete(id)
    const { identity } = state
    if (state.isCounted && identity !== undefined) {
      this.#deps.connectionsOf.leave(identity.user.id)
    }
    this.#connections.settle(id, state)
  }

  /**
   * A user who may open a target may learn that it is one. For all other users it is an address
   * like any other.
   */
  async openJump(id: ConnectionId, destination: Destination): Promise<Jump | Denial | undefined> {
    const { access, jumpCertificates } = this.#deps
    const state = this.#connections.require(id)
    const { named } = state
    const identity = requireIdentity(state)
    const { tenant, tenantSlug: slug } = identity
    const answer = await access.authorizeJump(identity, destination, {
      isJump: state.outer !== undefined,
      ...(named?.target !== undefined && { target: named.target }),
    })
    if (answer === undefined || 'denied' in answer) return answer
    const { target } = answer
    const [hostKey] = await this.#deps.hostKeys()
    const certificate =
      hostKey && (await jumpCertificates.certificateFor({ id: tenant, slug }, target, hostKey))
    if (state.isClosed) throw new RequestCrossed('a connection')
    if (state.inner.size >= jumpsMax) throw new JumpsExhausted(jumpsMax)
    const inner = randomUUID() as ConnectionId
    state.inner.add(inner)
    this.open(inner, state.source, { release: () => {} }, { id, target: target.name })
    return { connection: inner, target: target.name, certificate }
  }

  async permitLoan(id: ConnectionId, kind: 'agent' | 'x11'): Promise<Denial | undefined> {
    const state = this.#connections.require(id)
    return this.#deps.access.permit(requireIdentity(state), { ...state.named, kind })
  }

  async choices(id: ConnectionId, { search, after }: ChoiceQuery): Promise<ChoicePage> {
    const identity = requireIdentity(this.#connections.require(id))
    return this.#deps.access.listChoices(identity, { search, after, limit: choicesPerPage })
  }

  async authorize(
    id: ConnectionId,
    kind: ChannelKind,
    target?: string,
  ): Promise<Authorization | Denial> {
    const state = this.#connections.require(id)
    const { named } = state
    const identity = requireIdentity(state)
    // The signed user name named the target: no other target may be chosen.
    if (target !== undefined && named?.target !== undefined) {
      throw new RequestForged('another target')
    }
    forgetExpired(state)
    if (state.authorizations.size >= openAuthorizationsMax) throw new AuthorizationsExhausted()
    if (
      this.#unusedOf(identity.user.id) >= (this.#deps.unusedPerUserMax ?? openAuthorizationsMax)
    ) {
      throw new AuthorizationsExhausted()
    }
    const answer = await this.#connections.during(id, state, () =>
      this.#deps.access.authorize(identity, { ...named, ...(target && { target }), kind }),
    )
    if ('denied' in answer) return answer
    const given = { authorization: answer, givenAtMs: performance.now(), hostKeyDigest: undefined }
    state.authorizations.set(answer.id, given)
    return answer
  }

  /** How many authorizations of a user, on all connections, have started no session. */
  #unusedOf(user: string): number {
    let unused = 0
    for (const state of this.#connections.ofUser(user)) {
      forgetExpired(state)
      unused += state.authorizations.size - state.sessions.size
    }
    return unused
  }

  /**
   * The worker has ended: ends its sessions on record, with their remaining recordings. Resolves after one
   * attempt for each tenant. Failed writes are tried again, tenant by tenant.
   */
  async lost(): Promise<void> {
    const { penalties, worker } = this.#deps
    if (worker !== undefined) penalties.forget(worker)
    this.#logins.close()
    for (const [id] of this.#connections) this.close(id)
    for (const [tenant, unended] of Map.groupBy(this.#sessions.lost(), ({ tenant }) => tenant)) {
      this.#unended.set(tenant, [...(this.#unended.get(tenant) ?? []), ...unended])
    }
    const told = [...this.#sessions.abandonFiles(), ...this.#forwards.abandon()]
    this.#connections.clear()
    const tenants = new Set([...told, ...this.#unended.keys()])
    await Promise.all([...tenants].map((tenant) => this.#endOf(tenant)))
  }

  async #endOf(tenant: TenantId): Promise<void> {
    // Before the end of its session is on the log.
    await this.#sessions.filesTold(tenant)
    await Promise.all([this.#interruptions.ask(tenant), this.#forwards.told(tenant)])
  }

  async #interrupt(tenant: TenantId): Promise<void> {
    const { access, recorder } = this.#deps
    const unended = this.#unended.get(tenant)
    if (unended === undefined) return
    await access.interruptSessions(unended, (sessions) => recorder.recover(sessions))
    this.#unended.delete(tenant)
  }
}
