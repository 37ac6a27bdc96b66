import { randomUUID } from 'node:crypto'
import {
  type Access,
  AccessRevoked,
  type Authorization,
  type Denial,
  type Forward,
  type ForwardDestination,
  type ForwardOutcome,
  type ForwardProblem,
  forwardAttempt,
} from '../../access/index.ts'
import type { Identity } from '../../auth/index.ts'
import { background, type Log } from '../../log.ts'
import type { TenantId } from '../../postgres/index.ts'
import type { SessionId } from '../../recorder/index.ts'
import { canonicalHost } from '../../ssh/index.ts'
import type { Turns } from '../../turns.ts'
import type { ConnectionId, ForwardEnd, ForwardRequest, OpenedForward } from '../wire/calls.ts'
import { checkedPath, isListenHost } from '../wire/destination.ts'
import { TooManyForwards } from '../wire/errors.ts'
import {
  type ConnectionState,
  type ConnectionTable,
  type ForwardState,
  requireIdentity,
  requireLive,
  unknownTo,
} from './connection-state.ts'
import { RequestCrossed, RequestForged } from './errors.ts'
import type { ForwardGuard, ForwardOrigin, RefusedForward } from './forward-guard.ts'
import { TenantRetries, tryEach } from './tenant-retries.ts'

/** The destination of a forward. Empty if the target listens or the client lends. */
type JudgedDestination = Omit<OpenedForward, 'forward'>

export interface ForwardMonitorDeps {
  readonly access: Pick<
    Access,
    'permit' | 'refuseForward' | 'expectForward' | 'forgetForward' | 'openForward' | 'closeForward'
  >
  readonly guard: Pick<
    ForwardGuard,
    'judge' | 'judgePath' | 'problemOfListenPath' | 'problemOfListenPort'
  >
  /** Of one connection. */
  readonly forwardsMax: number
  /** On all connections of one worker; 8,192 unless given, or as many as one connection may have. */
  readonly forwardsPerUserMax?: number
  /** Writes of what has ended take one, whichever worker it was in: so no tenant waits for another's. */
  readonly endTurns: Turns
  readonly log: Log
}

/** Ends of a tenant's forwards that wait for its log. */
const lateMax = 10_000
const userMax = 8192
/** The byte counts of a forward that its worker did not close are unknown. */
const interrupted: ForwardOutcome = { ended: 'interrupted' }

/** The end of a forward that waits for its tenant's log. */
interface LateEnd {
  readonly identity: Identity
  readonly open: ForwardState
  readonly outcome: ForwardOutcome
}

/** The forwards of one worker: each is permitted and on record. */
export class ForwardMonitor {
  readonly #deps: ForwardMonitorDeps
  readonly #connections: ConnectionTable
  /** Ends that are not on record yet: by tenant. */
  readonly #late = new Map<TenantId, LateEnd[]>()
  readonly #retries: TenantRetries

  constructor(deps: ForwardMonitorDeps, connections: ConnectionTable) {
    this.#deps = deps
    this.#connections = connections
    const what = 'ends of forwards'
    this.#retries = new TenantRetries((tenant) => this.#recordLate(tenant), deps.log, what)
  }

  async open(
    id: ConnectionId,
    session: SessionId,
    request: ForwardRequest,
  ): Promise<OpenedForward | Denial> {
    const state = this.#connections.require(id)
    const authorization = requireLive(state, session)
    const identity = requireIdentity(state)
    this.#requireRoom(state, identity.user.id)
    const { kind } = request
    const destination = destinationOf(request)
    if (kind === 'forward' && destination === undefined) {
      throw new RequestForged('a forward without a destination')
    }
    const forward: Forward = {
      id: randomUUID(),
      session,
      kind,
      ...(destination !== undefined && { destination }),
    }
    const opened: ForwardState = { forward, authorization, isOpen: false, revoked: undefined }
    return this.#connections.during(id, state, async () => {
      const answer = await this.#open(state, identity, opened, request.peer)
      if ('denied' in answer) return answer
      // The forward ended, or was revoked, while its start was written: close it here.
      if (!state.sessions.has(session)) {
        await this.closeOf(state, session)
        throw new RequestCrossed('a session')
      }
      if (opened.revoked !== undefined) {
        await this.#close(state, identity, opened, interrupted)
        throw new AccessRevoked()
      }
      return { forward: forward.id, ...answer }
    })
  }

  /** Throws TooManyForwards when the connection, or the user on all connections, has the largest number. */
  #requireRoom({ forwards }: ConnectionState, user: string): void {
    const { forwardsMax, forwardsPerUserMax = Math.max(forwardsMax, userMax) } = this.#deps
    if (forwards.size >= forwardsMax) throw new TooManyForwards()
    let count = 0
    for (const other of this.#connections.ofUser(user)) count += other.forwards.size
    if (count >= forwardsPerUserMax) throw new TooManyForwards('you have')
  }

  async close(id: ConnectionId, forward: string, outcome: ForwardEnd): Promise<void> {
    const state = this.#connections.require(id)
    const identity = requireIdentity(state)
    const open = state.forwards.get(forward)
    if (open === undefined || !open.isOpen) {
      throw unknownTo(state, 'a forward', ({ forwards }) => forwards.has(forward))
    }
    await this.#connections.during(id, state, () => this.#close(state, identity, open, outcome))
  }

  /**
   * Closes the forwards of a session that their worker did not close. All are tried; throws the
   * first error.
   */
  async closeOf(state: ConnectionState, session: SessionId): Promise<void> {
    const { identity } = state
    const failures: unknown[] = []
    for (const open of state.forwards.values()) {
      if (identity === undefined || !open.isOpen || open.forward.session !== session) continue
      try {
        await this.#close(state, identity, open, interrupted)
      } catch (err) {
        failures.push(err)
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  /** Revokes the forward; its end is logged as revoked. False: the worker has no such forward. */
  revoke(forward: string, reason: string): boolean {
    const open = this.#find(forward)
    if (open === undefined) return false
    open.revoked ??= reason
    return open.isOpen
  }

  /** Whether its worker still has to end it. */
  has(forward: string): boolean {
    return this.#find(forward) !== undefined
  }

  /** The worker has ended: its open forwards end. Returns the tenants with ends to put on record. */
  abandon(): readonly TenantId[] {
    for (const [, { identity, forwards }] of this.#connections) {
      for (const [id, open] of forwards) {
        if (identity === undefined || !open.isOpen) continue
        forwards.delete(id)
        this.#keep({ identity, open, outcome: interrupted })
      }
    }
    return [...this.#late.keys()]
  }

  /** Resolves when a tenant's ends were tried. What cannot be written now is tried until it can. */
  async told(tenant: TenantId): Promise<void> {
    if (this.#late.has(tenant)) await this.#retries.ask(tenant)
  }

  #keep(end: LateEnd): void {
    const { tenant } = end.identity
    const late = this.#late.get(tenant) ?? []
    this.#late.set(tenant, late)
    if (late.length < lateMax) late.push(end)
    else
      this.#deps.log.error({ tenant, forward: end.open.forward.id }, 'the end of a forward is lost')
  }

  async #recordLate(tenant: TenantId): Promise<void> {
    const late = this.#late.get(tenant) ?? []
    this.#late.delete(tenant)
    const { left, failure } = await tryEach(late, async ({ identity, open, outcome }) => {
      using _turn = await this.#deps.endTurns.take({ tenant, user: identity.user.id })
      await this.#record(identity, open, outcome)
    })
    if (left.length === 0) return
    this.#late.set(tenant, [...left, ...(this.#late.get(tenant) ?? [])])
    throw failure
  }

  #find(forward: string): ForwardState | undefined {
    for (const [, { forwards }] of this.#connections) {
      const found = forwards.get(forward)
      if (found !== undefined) return found
    }
    return undefined
  }

  /** Known before it is decided about, so that a revocation from here on finds it. */
  async #open(
    state: ConnectionState,
    identity: Identity,
    opened: ForwardState,
    peer: string | undefined,
  ): Promise<JudgedDestination | Denial> {
    const { access } = this.#deps
    const { forward, authorization } = opened
    state.forwards.set(forward.id, opened)
    access.expectForward(forward)
    try {
      const answer = await this.#decide(identity, authorization, forward, peer)
      if ('denied' in answer) return answer
      await access.openForward(identity, authorization, forward)
      opened.isOpen = true
      return answer
    } finally {
      if (!opened.isOpen) {
        state.forwards.delete(forward.id)
        access.forgetForward(forward)
      }
    }
  }

  /**
   * Forgotten before it is written, so that a second close changes nothing. Rejects when the end cannot be
   * written now; it is then tried again until it can.
   */
  async #close(
    state: ConnectionState,
    identity: Identity,
    open: ForwardState,
    outcome: ForwardOutcome,
  ): Promise<void> {
    state.forwards.delete(open.forward.id)
    try {
      await this.#record(identity, open, outcome)
    } catch (err) {
      this.#keep({ identity, open, outcome })
      background(this.#retries.ask(identity.tenant), this.#deps.log, 'the end of a forward')
      throw err
    }
  }

  /**
   * The worker's reason for an end counts only if the main process did not end the forward itself.
   */
  #record(
    identity: Identity,
    { forward, authorization, revoked }: ForwardState,
    { ended, ...bytes }: ForwardOutcome,
  ): Promise<void> {
    const how = revoked === undefined ? { ended } : { ended: 'revoked', reason: revoked }
    return this.#deps.access.closeForward(identity, authorization, forward, { ...bytes, ...how })
  }

  /**
   * The destination to open, or a denial. A user without the right to forward must not cause a
   * look-up of a name.
   */
  async #decide(
    identity: Identity,
    { target, login }: Authorization,
    forward: Forward,
    peer: string | undefined,
  ): Promise<JudgedDestination | Denial> {
    const { access } = this.#deps
    const { kind, destination } = forward
    const asked = { target: target.name, login, ...forwardAttempt(forward) }
    const refuse = (problem: ForwardProblem) =>
      access.refuseForward(identity, asked, target, { problem, destination })
    if (!certificatePermits(identity, forward.kind)) {
      return refuse('certificate')
    }
    const denial = await access.permit(identity, asked)
    if (denial !== undefined) return denial
    if (destination === undefined) return {}
    const origin = originOf(identity, peer)
    if (kind === 'remote-forward') {
      const problem = await this.#problemOfListener(destination, origin)
      return problem === undefined ? {} : refuse(problem)
    }
    const judged = await this.#judge(destination, origin)
    return 'refused' in judged ? refuse(judged.refused) : judged
  }

  async #problemOfListener(
    destination: ForwardDestination,
    origin: ForwardOrigin,
  ): Promise<ForwardProblem | undefined> {
    const { guard } = this.#deps
    if ('path' in destination) return guard.problemOfListenPath(destination.path, origin)
    return guard.problemOfListenPort(destination, origin)
  }

  async #judge(
    destination: ForwardDestination,
    origin: ForwardOrigin,
  ): Promise<ForwardDestination | RefusedForward> {
    const { guard } = this.#deps
    return 'path' in destination
      ? guard.judgePath(destination.path, origin)
      : guard.judge(destination, origin)
  }
}

/** Throws RequestForged if the worker does not say where the forward comes from: an honest one does. */
function originOf({ tenant, user }: Identity, peer: string | undefined): ForwardOrigin {
  if (peer === undefined) throw new RequestForged('a forward without an origin')
  return { peer, owner: { tenant, user: user.id } }
}

/**
 * The target gets the judged spelling, so the destination must come in its one spelling. Throws
 * RequestForged.
 */
function destinationOf({ kind, host, port, path }: ForwardRequest): Forward['destination'] {
  const address = host === undefined || port === undefined ? undefined : { host, port }
  const isHost = kind === 'forward' ? isCanonical(host) : isListenHost(host ?? '')
  if (!isHost || !isPath(path)) {
    throw new RequestForged('a forward in a spelling that no worker uses')
  }
  if (path === undefined) return address
  if (address !== undefined) throw new RequestForged('a forward with two destinations')
  return { path }
}

function isCanonical(host: string | undefined): boolean {
  return host === undefined || (host !== '' && isUnchangedBy(canonicalHost, host))
}

function isPath(path: string | undefined): boolean {
  return path === undefined || isUnchangedBy(checkedPath, path)
}

/** Whether reading a text gives the same text. False for a text that cannot be read. */
function isUnchangedBy(read: (text: string) => string, text: string): boolean {
  try {
    return read(text) === text
  } catch {
    return false
  }
}

const permits: { readonly [kind in Forward['kind']]: string } = {
  forward: 'permit-port-forwarding',
  'remote-forward': 'permit-port-forwarding',
  agent: 'permit-agent-forwarding',
  x11: 'permit-X11-forwarding',
}

/**
 * A user with a certificate may do only what it permits. With a forced command, nothing but that
 * command is permitted.
 */
function certificatePermits({ certificate }: Identity, kind: Forward['kind']): boolean {
  if (certificate === undefined) return true
  return certificate.forceCommand === undefined && certificate.permits.includes(permits[kind])
}
