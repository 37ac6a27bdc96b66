import { randomUUID } from 'node:crypto'
import {
  type Access,
  AccessRevoked,
  type Authorization,
  type Denial,
  type Forward,
  type ForwardDestination,
  type ForwardOutcome,
  forwardWish,
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
import type { ForwardGuard, ForwardOrigin } from './forward-guard.ts'
import { TenantRetries, tryEach } from './tenant-retries.ts'

/** Where to open a forward. Nothing of it where the target listens, or lends. */
type JudgedDestination = Omit<OpenedForward, 'forward'>

export interface ForwardMonitorDeps {
  readonly access: Pick<
    Access,
    'permit' | 'refuseForward' | 'expectForward' | 'forgetForward' | 'openForward' | 'closeForward'
  >
  readonly guard: Pick<ForwardGuard, 'judge' | 'judgePath' | 'mayListenAt'>
  /** Of one connection. */
  readonly forwardsMax: number
  /** Writes of what has ended take one, whichever worker it was in: so no tenant waits for another's. */
  readonly endTurns: Turns
  readonly log: Log
}

/** Ends of a tenant's forwards that wait for its log. */
const lateMax = 10_000
/** Of what its worker did not close, nobody knows how much went through it. */
const interrupted: ForwardOutcome = { ended: 'interrupted' }

/** The end of a forward that waits for its tenant's log. */
interface LateEnd {
  readonly identity: Identity
  readonly open: ForwardState
  readonly outcome: ForwardOutcome
}

/** The channels beside those of sessions that one worker opens: none that is not permitted, and on record. */
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
    wish: ForwardRequest,
  ): Promise<OpenedForward | Denial> {
    const state = this.#connections.require(id)
    const place = requireLive(state, session)
    const identity = requireIdentity(state)
    if (state.forwards.size >= this.#deps.forwardsMax) throw new TooManyForwards()
    const { kind } = wish
    const destination = destinationOf(wish)
    if (kind === 'forward' && destination === undefined) {
      throw new RequestForged('a forward to nowhere')
    }
    const forward: Forward = {
      id: randomUUID(),
      session,
      kind,
      ...(destination !== undefined && { destination }),
    }
    const opened: ForwardState = { forward, place, isOpen: false, revoked: undefined }
    return this.#connections.during(id, state, async () => {
      const answer = await this.#open(state, identity, opened, wish.peer)
      if ('denied' in answer) return answer
      // Ended, or taken away, while that was written: nobody else would close it.
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

  async close(id: ConnectionId, forward: string, outcome: ForwardEnd): Promise<void> {
    const state = this.#connections.require(id)
    const identity = requireIdentity(state)
    const open = state.forwards.get(forward)
    if (open === undefined || !open.isOpen) {
      throw unknownTo(state, 'a forward', ({ forwards }) => forwards.has(forward))
    }
    await this.#connections.during(id, state, () => this.#close(state, identity, open, outcome))
  }

  /** Those of a session that their worker did not close. All are tried; throws what failed first. */
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

  /** It is not allowed any more, and on record as that when it ends. False: the worker knows of none. */
  revoke(forward: string, reason: string): boolean {
    const open = this.#find(forward)
    if (open === undefined) return false
    open.revoked ??= reason
    return open.isOpen
  }

  /** Whether its worker has yet to end it. */
  has(forward: string): boolean {
    return this.#find(forward) !== undefined
  }

  /** The worker is no more: what was open in it ends. Returns the tenants for which something is to be told. */
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

  /** Whatever takes it away from here on finds it: it is known before it is decided about. */
  async #open(
    state: ConnectionState,
    identity: Identity,
    opened: ForwardState,
    peer: string | undefined,
  ): Promise<JudgedDestination | Denial> {
    const { access } = this.#deps
    const { forward, place } = opened
    state.forwards.set(forward.id, opened)
    access.expectForward(forward)
    try {
      const answer = await this.#decide(identity, place, forward, peer)
      if ('denied' in answer) return answer
      await access.openForward(identity, place, forward)
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
   * Taken first: what is closed twice is closed once. Rejects when that cannot be written now; it is then
   * tried until it can.
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

  /** Why it ended is the worker's to say only where nobody else ended it. */
  #record(
    identity: Identity,
    { forward, place, revoked }: ForwardState,
    { ended, ...bytes }: ForwardOutcome,
  ): Promise<void> {
    const how = revoked === undefined ? { ended } : { ended: 'revoked', reason: revoked }
    return this.#deps.access.closeForward(identity, place, forward, { ...bytes, ...how })
  }

  /** The destination to open, or a denial. A user who may not forward makes nobody look up a name. */
  async #decide(
    identity: Identity,
    { target, login }: Authorization,
    forward: Forward,
    peer: string | undefined,
  ): Promise<JudgedDestination | Denial> {
    const { access } = this.#deps
    const asked = { target: target.name, login, ...forwardWish(forward) }
    if (!certificatePermits(identity, forward.kind)) {
      return access.refuseForward(identity, asked, target)
    }
    const denial = await access.permit(identity, asked)
    if (denial !== undefined) return denial
    const { kind, destination } = forward
    if (destination === undefined) return {}
    const origin = () => originOf(identity, peer)
    if (kind === 'remote-forward') {
      const may = await this.#mayListen(destination, origin)
      return may ? {} : access.refuseForward(identity, asked, target)
    }
    const judged = await this.#judge(destination, origin())
    return judged ?? access.refuseForward(identity, asked, target)
  }

  async #mayListen(destination: ForwardDestination, origin: () => ForwardOrigin): Promise<boolean> {
    if (!('path' in destination)) return true
    return this.#deps.guard.mayListenAt(destination.path, origin())
  }

  async #judge(
    destination: ForwardDestination,
    origin: ForwardOrigin,
  ): Promise<ForwardDestination | undefined> {
    const { guard } = this.#deps
    if (!('path' in destination)) return guard.judge(destination, origin)
    const path = await guard.judgePath(destination.path, origin)
    return path === undefined ? undefined : { path }
  }
}

/** Throws RequestForged where the worker does not say from where: an honest one does. */
function originOf({ tenant, user }: Identity, peer: string | undefined): ForwardOrigin {
  if (peer === undefined) throw new RequestForged('a forward from nowhere')
  return { peer, owner: { tenant, user: user.id } }
}

/** What is judged is what the target gets, so it must come in its one spelling. Throws RequestForged. */
function destinationOf({ kind, host, port, path }: ForwardRequest): Forward['destination'] {
  const address = host === undefined || port === undefined ? undefined : { host, port }
  const isHost = kind === 'forward' ? isCanonical(host) : isListenHost(host ?? '')
  if (!isHost || !isPath(path)) {
    throw new RequestForged('a forward that is spelled as no worker spells it')
  }
  if (path === undefined) return address
  if (address !== undefined) throw new RequestForged('a forward to two places')
  return { path }
}

function isCanonical(host: string | undefined): boolean {
  return host === undefined || (host !== '' && isUnchangedBy(canonicalHost, host))
}

function isPath(path: string | undefined): boolean {
  return path === undefined || isUnchangedBy(checkedPath, path)
}

/** Whether a text is read as itself. One that cannot be read is not. */
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

/** Who came with a certificate may do no more than it says; and a forced command is all there is. */
function certificatePermits({ certificate }: Identity, kind: Forward['kind']): boolean {
  if (certificate === undefined) return true
  return certificate.forceCommand === undefined && certificate.permits.includes(permits[kind])
}
