import { randomUUID } from 'node:crypto'
import type {
  Access,
  Authorization,
  ChannelKind,
  Denial,
  FileOperation,
  Forward,
  ForwardOutcome,
  SessionOutcome,
  TargetChoice,
  Wish,
} from '../access/index.ts'
import type { Auth, Identity } from '../auth/index.ts'
import { CodedError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { TenantId } from '../postgres/index.ts'
import type { Recorder, SessionId, Unended } from '../recorder/index.ts'
import {
  type AuthAttempt,
  type Departure,
  type HostProof,
  parseUserauthRequest,
  type ServerHostKey,
  verifyHostProof,
  WireError,
} from '../ssh/index.ts'
import type { Tenants } from '../tenant/index.ts'
import type { KeyLease, Vault } from '../vault/index.ts'
import type { Admitted } from './admission.ts'
import type { Broker, Client, ConnectionId, ForwardWish, Jump, StartFacts } from './broker.ts'
import { TooManyForwards } from './errors.ts'
import type { ForwardGuard } from './forward-guard.ts'
import type { Headcount } from './headcount.ts'
import { type Destination, targetAt, wishOf } from './jump.ts'
import type { JumpCertificates } from './jump-certificates.ts'
import type { BastionMetrics } from './metrics.ts'
import type { Penalties } from './penalties.ts'
import type { Replays } from './replays.ts'
import type { Turns } from './turns.ts'
import { parseUsername, type Wish as UsernameWish } from './username.ts'

/** What monitors stand on, all of them alike. */
export interface MonitorDeps {
  readonly tenants: Pick<Tenants, 'resolve'>
  readonly auth: Pick<Auth, 'authenticateSsh'>
  readonly access: Pick<
    Access,
    | 'authorize'
    | 'reachable'
    | 'choices'
    | 'refuseChain'
    | 'permit'
    | 'refuseForward'
    | 'openForward'
    | 'closeForward'
    | 'recordFiles'
    | 'startSession'
    | 'leaseKey'
    | 'checkHostKey'
    | 'upstreamOpened'
    | 'endSession'
    | 'interruptSessions'
  >
  readonly vault: Pick<Vault, 'sign'>
  readonly recorder: Pick<Recorder, 'recover'>
  readonly metrics: BastionMetrics
  readonly jumpCertificates: Pick<JumpCertificates, 'certificateFor'>
  /** Those that workers show. */
  readonly hostKeys: () => Promise<readonly ServerHostKey[]>
  readonly guard: Pick<ForwardGuard, 'refuses' | 'refusesPath'>
  readonly replays: Replays
  readonly penalties: Pick<Penalties, 'left' | 'loggedIn'>
  /** Who logs in waits for one: the rest of the database's connections is for who is in. */
  readonly turns: Turns
  /** The connections, and the sessions, of each user on this node. */
  readonly connectionsOf: Headcount
  readonly sessionsOf: Headcount
  /** The name of this process among those of the deployment. */
  readonly node: string
  readonly log: Log
}

/** A request that no honest worker makes. */
export class RequestForged extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_WORKER_REQUEST'

  constructor(what: string) {
    super(`the worker asked for what is not its own: ${what}`)
  }
}

/** Of an honest worker too: what it asked for crossed with the end of the connection. */
export class ConnectionUnknown extends RequestForged {
  constructor() {
    super('a connection')
  }
}

/** The user has as many sessions as anybody may. */
export class SessionsExhausted extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_SESSION_LIMIT'

  constructor() {
    super('you have too many sessions open')
  }
}

/** A connection has as many jumps as any may. */
export class JumpsExhausted extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_JUMP_LIMIT'

  constructor() {
    super(`a connection carries ${jumpsMax} jumps at a time; end one, or connect once more`)
  }
}

interface Served {
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
  /** With the authorization that each is for. */
  readonly leases: Map<string, Authorization>
  /** With the authorization that each was started with. */
  readonly sessions: Map<SessionId, string>
  readonly forwards: Map<string, { readonly forward: Forward; readonly place: Authorization }>
  /** Answers that are on their way: until they are there, it is not over. */
  pending: number
  isCounted: boolean
  hasLeft: boolean
  isClosed: boolean
}

/** A name that no tenant can have, so that a malformed user name costs the same look-up. */
const nobody = 'nobody-has-this-name'
/** Of one connection, those of sessions that are not over: a worker keeps fewer. */
const openAuthorizationsMax = 4096
const forwardsMax = 64
const recordedKinds: ReadonlySet<ChannelKind> = new Set(['shell', 'exec', 'sftp'])
/** Of one connection, at a time. */
const jumpsMax = 16

/**
 * The half of one worker that holds its secrets, as OpenSSH's privilege separation calls it. It
 * serves a worker that it does not trust: it verifies who is on a connection itself, remembers what
 * they were allowed, and takes nothing from the worker but the name of what it gave it.
 */
export class Monitor implements Broker {
  readonly #deps: MonitorDeps
  readonly #connections = new Map<ConnectionId, Served>()
  #isLost = false

  constructor(deps: MonitorDeps) {
    this.#deps = deps
  }

  get connections(): number {
    return this.#connections.size
  }

  /** How many people it has let in. */
  get logins(): number {
    return this.#deps.replays.count(this)
  }

  get sessions(): number {
    let sum = 0
    for (const { sessions } of this.#connections.values()) sum += sessions.size
    return sum
  }

  /** The worker gets this connection. */
  open(id: ConnectionId, source: string, admitted: Admitted, outer?: Served['outer']): void {
    this.#connections.set(id, {
      source,
      admitted,
      stopTimer: this.#deps.metrics.handshakeSeconds.startTimer(),
      identity: undefined,
      wish: undefined,
      ...(outer === undefined ? {} : { outer }),
      inner: new Set(),
      authorizations: new Map(),
      leases: new Map(),
      sessions: new Map(),
      forwards: new Map(),
      pending: 0,
      isCounted: false,
      hasLeft: false,
      isClosed: false,
    })
    this.#deps.metrics.connections.inc()
  }

  /** The worker says that the client left without a login, and how. */
  left(id: ConnectionId, how: Departure): void {
    const { metrics, penalties, log } = this.#deps
    const served = this.#connections.get(id)
    if (served === undefined || served.identity !== undefined || served.hasLeft) return
    served.hasLeft = true
    const { source } = served
    metrics.departures.inc({ how })
    if (!penalties.left(source, how)) return
    metrics.heldSources.inc()
    log.warn({ source, how }, 'an address is held off: too many came from it without a login')
  }

  /** The worker says that the client has gone; sessions that it has yet to end stay known. */
  close(id: ConnectionId): void {
    const served = this.#connections.get(id)
    if (served === undefined || served.isClosed) return
    served.isClosed = true
    served.admitted.release()
    this.#deps.metrics.connections.dec()
    // What goes through it ends with it, and sooner than the worker may say.
    for (const inner of served.inner) this.close(inner)
    if (served.outer !== undefined) this.#connections.get(served.outer.id)?.inner.delete(id)
    const { identity } = served
    if (served.isCounted && identity !== undefined) {
      this.#deps.connectionsOf.leave(identity.user.id)
    }
    this.#settle(id, served)
  }

  /**
   * Malformed and unknown names take the same way as known ones, down to a signature that is checked
   * and a key that is looked up: neither the answer nor its timing tells which it was.
   */
  async login(id: ConnectionId, attempt: AuthAttempt): Promise<Client | undefined> {
    const { metrics, replays, connectionsOf } = this.#deps
    const served = this.#require(id)
    if (served.identity !== undefined || served.outer !== undefined) {
      throw new RequestForged('a second login')
    }
    const wish = parseUsername(attempt.user)
    const identity = await this.#authenticate(wish, attempt, served.source)
    metrics.authentications.inc({ outcome: identity === undefined ? 'refused' : 'accepted' })
    if (wish === undefined || identity === undefined) return undefined
    const { exchangeHash } = parseUserauthRequest(attempt.signedData)
    if (!replays.take(this, exchangeHash)) throw new RequestForged('a login that was used before')
    if (served.identity !== undefined) throw new RequestForged('a second login')
    served.identity = identity
    const { target, login } = wish
    served.wish = { ...(target !== undefined && { target }), ...(login !== undefined && { login }) }
    served.admitted.release()
    this.#deps.penalties.loggedIn(served.source)
    served.stopTimer()
    const user = identity.user.id
    served.isCounted = !served.isClosed && connectionsOf.enter(user)
    if (!served.isCounted) metrics.turnedAway.inc({ reason: 'user-limit' })
    return clientOf(identity, !served.isCounted)
  }

  /** Who may open a target may learn that it is one; to everybody else it is a place like any other. */
  async openJump(id: ConnectionId, destination: Destination): Promise<Jump | Denial | undefined> {
    const { access, jumpCertificates } = this.#deps
    const served = this.#require(id)
    const { identity, wish } = served
    if (identity === undefined || wish === undefined) throw new RequestForged('a login')
    const { tenant, tenantSlug: slug } = identity
    const target = targetAt(await access.reachable(identity), slug, destination)
    if (target === undefined) return undefined
    const isElsewhere = wish.target !== undefined && wish.target !== target.name
    if (served.outer !== undefined || isElsewhere) return access.refuseChain(identity, target)
    const answer = await access.authorize(identity, { target: target.name, kind: 'jump' })
    if ('denied' in answer) return answer
    const [hostKey] = await this.#deps.hostKeys()
    const certificate =
      hostKey && (await jumpCertificates.certificateFor({ id: tenant, slug }, target, hostKey))
    if (served.isClosed) throw new RequestForged('a connection')
    if (served.inner.size >= jumpsMax) throw new JumpsExhausted()
    const inner = randomUUID() as ConnectionId
    served.inner.add(inner)
    this.open(inner, served.source, { release: () => {} }, { id, target: target.name })
    return { connection: inner, target: target.name, certificate }
  }

  /** Who is on the outer connection has proved it there; here they only say as whom they come. */
  async enterJump(inner: ConnectionId, user: string): Promise<Client | Denial> {
    const served = this.#require(inner)
    const { outer } = served
    if (outer === undefined || served.identity !== undefined) throw new RequestForged('a jump')
    const { identity } = this.#require(outer.id)
    if (identity === undefined) throw new RequestForged('a login')
    const { tenant, tenantSlug: slug } = identity
    const idName = `tenant-${tenant.slice(0, 8)}`
    const wish = wishOf(user, { slug, idName, target: outer.target })
    if (wish === undefined || (await this.#isAnotherTenant(user, tenant))) {
      return {
        denied: 'tenant',
        code: 'ERR_JUMP_USER',
        message: `the user name ${user} is not for ${outer.target} of ${slug}; leave it out, or give a login of the target`,
      }
    }
    if (served.identity !== undefined) throw new RequestForged('a second login')
    served.identity = identity
    served.wish = { target: outer.target, ...wish }
    served.stopTimer()
    return clientOf(identity, false)
  }

  async #isAnotherTenant(user: string, tenant: TenantId): Promise<boolean> {
    const named = parseUsername(user)
    if (named === undefined) return false
    using _turn = await this.#deps.turns.take()
    const found = await this.#deps.tenants.resolve(named.tenant)
    return found !== undefined && found.id !== tenant
  }

  async #authenticate(wish: UsernameWish | undefined, attempt: AuthAttempt, source: string) {
    const { tenants, auth, turns } = this.#deps
    using _turn = await turns.take()
    const tenant = await tenants.resolve(wish?.tenant ?? nobody)
    // Awaited here: the turn is over when this is.
    return await auth.authenticateSsh({
      tenant: wish === undefined ? undefined : tenant?.id,
      attempt,
      source,
    })
  }

  async choices(id: ConnectionId): Promise<readonly TargetChoice[]> {
    const { identity } = this.#require(id)
    if (identity === undefined) throw new RequestForged('a login')
    return this.#deps.access.choices(identity)
  }

  async authorize(
    id: ConnectionId,
    kind: ChannelKind,
    target?: string,
  ): Promise<Authorization | Denial> {
    const served = this.#require(id)
    const { identity, wish } = served
    if (identity === undefined || wish === undefined) throw new RequestForged('a login')
    // What the user name said was signed: nobody chooses anew.
    if (target !== undefined && wish.target !== undefined) throw new RequestForged('another target')
    forgetExpired(served)
    if (served.authorizations.size >= openAuthorizationsMax) {
      throw new RequestForged('more authorizations')
    }
    const answer = await this.#during(id, served, () =>
      this.#deps.access.authorize(identity, { ...wish, ...(target && { target }), kind }),
    )
    if (!('denied' in answer)) served.authorizations.set(answer.id, answer)
    return answer
  }

  async startSession(id: ConnectionId, authorization: string, facts: StartFacts) {
    const { access, sessionsOf, node } = this.#deps
    const served = this.#require(id)
    const allowed = this.#authorization(served, authorization)
    const user = allowed.user.id
    if (!sessionsOf.enter(user)) throw new SessionsExhausted()
    try {
      const via = served.outer === undefined ? {} : ({ via: 'jump' } as const)
      const recording = recordedKinds.has(facts.kind)
      const start = { ...facts, ...via, source: served.source, node, recording }
      const started = await this.#during(id, served, async () => {
        const answer = await access.startSession(allowed, start)
        served.sessions.set(answer.session, authorization)
        return answer
      })
      // The worker went while its session was started: nobody else would end it.
      if (this.#isLost) await this.#interrupt([{ tenant: allowed.tenant, ...started }])
      return started
    } catch (err) {
      sessionsOf.leave(user)
      served.authorizations.delete(authorization)
      throw err
    }
  }

  async leaseKey(id: ConnectionId, authorization: string, session: SessionId): Promise<KeyLease> {
    const served = this.#require(id)
    const allowed = this.#authorization(served, authorization)
    this.#requireSession(served, session)
    const lease = await this.#deps.access.leaseKey(allowed, session)
    served.leases.set(lease.id, allowed)
    return lease
  }

  async checkHostKey(id: ConnectionId, authorization: string, blob: Buffer): Promise<boolean> {
    const allowed = this.#authorization(this.#require(id), authorization)
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
    const served = this.#require(id)
    const allowed = served.leases.get(lease)
    if (allowed === undefined) throw new RequestForged('a key')
    served.leases.delete(lease)
    const { exchangeHash } = readLogin(data)
    const isThere = verifyHostProof(proof, exchangeHash)
    if (!isThere || !(await this.#deps.access.checkHostKey(allowed, proof.hostKey))) {
      throw new RequestForged('a login at another host')
    }
    return this.#deps.vault.sign(lease, data, algorithm)
  }

  async upstreamOpened(id: ConnectionId, authorization: string, session: SessionId) {
    const served = this.#require(id)
    const allowed = this.#authorization(served, authorization)
    this.#requireSession(served, session)
    await this.#deps.access.upstreamOpened(allowed, session)
  }

  async openForward(id: ConnectionId, session: SessionId, wish: ForwardWish) {
    const { access } = this.#deps
    const served = this.#require(id)
    this.#requireSession(served, session)
    const { identity } = served
    const place = this.#authorization(served, served.sessions.get(session) ?? '')
    if (identity === undefined) throw new RequestForged('a session')
    if (served.forwards.size >= forwardsMax) throw new TooManyForwards()
    const { kind, host, port, path } = wish
    const destination = host === undefined || port === undefined ? undefined : { host, port }
    if (kind === 'forward' && destination === undefined && path === undefined) {
      throw new RequestForged('a forward to nowhere')
    }
    const { target, login } = place
    const asked = {
      target: target.name,
      login,
      kind,
      // Where a target listens is not where a forward leads.
      ...(kind === 'forward' && destination !== undefined && { destination }),
    }
    const denial = await this.#during(id, served, async () => {
      if (!certificatePermits(identity, kind) || (await this.#isOwn(wish, target))) {
        return access.refuseForward(identity, asked, target)
      }
      return access.permit(identity, asked)
    })
    if (denial !== undefined) return denial
    const forward: Forward = {
      id: randomUUID(),
      session,
      kind,
      ...(destination !== undefined && { destination }),
      ...(path !== undefined && { path }),
    }
    await this.#during(id, served, () => access.openForward(identity, place, forward))
    served.forwards.set(forward.id, { forward, place })
    // Ended while that was written: nobody else would close it.
    if (!served.sessions.has(session)) await this.#closeForwards(served, session)
    return { forward: forward.id }
  }

  async recordFiles(
    id: ConnectionId,
    session: SessionId,
    operations: readonly FileOperation[],
  ): Promise<void> {
    const served = this.#require(id)
    this.#requireSession(served, session)
    const place = this.#authorization(served, served.sessions.get(session) ?? '')
    const { identity } = served
    if (identity === undefined) throw new RequestForged('a session')
    await this.#during(id, served, () =>
      this.#deps.access.recordFiles(identity, place, session, operations),
    )
  }

  async closeForward(id: ConnectionId, forward: string, outcome: ForwardOutcome): Promise<void> {
    const served = this.#require(id)
    const { identity } = served
    const open = served.forwards.get(forward)
    if (open === undefined || identity === undefined) throw new RequestForged('a forward')
    served.forwards.delete(forward)
    await this.#during(id, served, () =>
      this.#deps.access.closeForward(identity, open.place, open.forward, outcome),
    )
  }

  async #isOwn({ kind, host, port, path }: ForwardWish, target: Authorization['target']) {
    const { guard } = this.#deps
    if (kind !== 'forward') return false
    if (path !== undefined) return guard.refusesPath(path, target)
    return host !== undefined && port !== undefined && guard.refuses({ host, port }, target)
  }

  /** Those that their worker did not close. */
  async #closeForwards(served: Served, session: SessionId): Promise<void> {
    const { identity } = served
    for (const [id, { forward, place }] of served.forwards) {
      if (identity === undefined || forward.session !== session) continue
      served.forwards.delete(id)
      const outcome = { bytesIn: 0, bytesOut: 0, ended: 'interrupted' }
      await this.#deps.access.closeForward(identity, place, forward, outcome)
    }
  }

  async endSession(
    id: ConnectionId,
    session: SessionId,
    outcome: Omit<SessionOutcome, 'tenant'>,
  ): Promise<void> {
    const served = this.#require(id)
    this.#requireSession(served, session)
    const { identity } = served
    if (identity === undefined) throw new RequestForged('a session')
    // Taken first: what is ended twice is ended once.
    served.authorizations.delete(served.sessions.get(session) ?? '')
    served.sessions.delete(session)
    this.#deps.sessionsOf.leave(identity.user.id)
    try {
      await this.#closeForwards(served, session)
      await this.#deps.access.endSession(session, { ...outcome, tenant: identity.tenant })
    } finally {
      this.#settle(id, served)
    }
  }

  /** The worker is no more: what it had open is ended on record, with what is left of its recordings. */
  async lost(): Promise<void> {
    const { replays, sessionsOf } = this.#deps
    this.#isLost = true
    const unended: Unended[] = []
    for (const [id, served] of this.#connections) {
      this.close(id)
      for (const session of served.sessions.keys()) {
        if (served.identity === undefined) continue
        unended.push({ tenant: served.identity.tenant, session })
        sessionsOf.leave(served.identity.user.id)
      }
      served.sessions.clear()
    }
    this.#connections.clear()
    replays.forget(this)
    if (unended.length > 0) await this.#interrupt(unended)
  }

  async #interrupt(unended: readonly Unended[]): Promise<void> {
    const { access, recorder } = this.#deps
    await access.interruptSessions(unended, (sessions) => recorder.recover(sessions))
  }

  /** A connection whose client has gone is known until what was asked for it is answered. */
  async #during<T>(id: ConnectionId, served: Served, work: () => Promise<T>): Promise<T> {
    served.pending++
    try {
      return await work()
    } finally {
      served.pending--
      this.#settle(id, served)
    }
  }

  #require(id: ConnectionId): Served {
    const served = this.#connections.get(id)
    if (served === undefined) throw new ConnectionUnknown()
    return served
  }

  #authorization(served: Served, id: string): Authorization {
    const authorization = served.authorizations.get(id)
    if (authorization === undefined) throw new RequestForged('an authorization')
    return authorization
  }

  #requireSession(served: Served, session: SessionId): void {
    if (!served.sessions.has(session)) throw new RequestForged('a session')
  }

  #settle(id: ConnectionId, served: Served): void {
    if (served.isClosed && served.sessions.size === 0 && served.pending === 0) {
      this.#connections.delete(id)
    }
  }
}

function clientOf(
  { user, tenant, tenantSlug, certificate }: Identity,
  oneTooMany: boolean,
): Client {
  return {
    user: user.id,
    tenant,
    tenantSlug,
    oneTooMany,
    bounds: certificate && {
      permits: certificate.permits,
      ...(certificate.forceCommand !== undefined && { forceCommand: certificate.forceCommand }),
    },
  }
}

const permits: { readonly [kind in ForwardWish['kind']]: string } = {
  forward: 'permit-port-forwarding',
  'remote-forward': 'permit-port-forwarding',
  agent: 'permit-agent-forwarding',
  x11: 'permit-X11-forwarding',
}

/** Who came with a certificate may do no more than it says; and a forced command is all there is. */
function certificatePermits({ certificate }: Identity, kind: ForwardWish['kind']): boolean {
  if (certificate === undefined) return true
  return certificate.forceCommand === undefined && certificate.permits.includes(permits[kind])
}

function readLogin(data: Buffer) {
  try {
    return parseUserauthRequest(data)
  } catch (err) {
    if (err instanceof WireError) throw new RequestForged('a signature of what is no login')
    throw err
  }
}

/** Those that started no session, and can start none any more. */
function forgetExpired({ authorizations, sessions }: Served): void {
  const used = new Set(sessions.values())
  for (const [id, { expiresAt }] of authorizations) {
    if (Date.parse(expiresAt) > Date.now()) return
    if (!used.has(id)) authorizations.delete(id)
  }
}
