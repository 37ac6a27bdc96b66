import { randomUUID } from 'node:crypto'
import type { Access, Authorization, Denial, Forward, ForwardOutcome } from '../access/index.ts'
import type { Identity } from '../auth/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { ConnectionId, ForwardWish } from './broker.ts'
import { RequestCrossed, RequestForged, TooManyForwards } from './errors.ts'
import type { ForwardGuard } from './forward-guard.ts'
import type { KillNotices } from './kill-notices.ts'
import { requireIdentity, requireLive, type Served, type ServedConnections } from './served.ts'

export interface ForwardMonitorDeps {
  readonly access: Pick<Access, 'permit' | 'refuseForward' | 'openForward' | 'closeForward'>
  readonly guard: Pick<ForwardGuard, 'refuses' | 'refusesPath'>
}

const forwardsMax = 64

/** The channels beside those of sessions that one worker opens: none that is not permitted, and on record. */
export class ForwardMonitor {
  readonly #deps: ForwardMonitorDeps
  readonly #connections: ServedConnections
  readonly #kills: KillNotices

  constructor(deps: ForwardMonitorDeps, connections: ServedConnections, kills: KillNotices) {
    this.#deps = deps
    this.#connections = connections
    this.#kills = kills
  }

  async open(
    id: ConnectionId,
    session: SessionId,
    wish: ForwardWish,
  ): Promise<{ readonly forward: string } | Denial> {
    const served = this.#connections.require(id)
    const place = requireLive(served, session, this.#kills)
    const identity = requireIdentity(served)
    if (served.forwards.size >= forwardsMax) throw new TooManyForwards()
    const { kind, host, port, path } = wish
    const destination = host === undefined || port === undefined ? undefined : { host, port }
    if (kind === 'forward' && destination === undefined && path === undefined) {
      throw new RequestForged('a forward to nowhere')
    }
    return this.#connections.during(id, served, async () => {
      const denial = await this.#refuse(identity, place, wish)
      if (denial !== undefined) return denial
      const forward: Forward = {
        id: randomUUID(),
        session,
        kind,
        ...(destination !== undefined && { destination }),
        ...(path !== undefined && { path }),
      }
      await this.#deps.access.openForward(identity, place, forward)
      served.forwards.set(forward.id, { forward, place })
      // Ended while that was written: nobody else would close it.
      if (!served.sessions.has(session)) {
        await this.closeOf(served, session)
        throw new RequestCrossed('a session')
      }
      return { forward: forward.id }
    })
  }

  async close(id: ConnectionId, forward: string, outcome: ForwardOutcome): Promise<void> {
    const served = this.#connections.require(id)
    const identity = requireIdentity(served)
    const open = served.forwards.get(forward)
    if (open === undefined) {
      throw served.ended.size > 0 ? new RequestCrossed('a forward') : new RequestForged('a forward')
    }
    served.forwards.delete(forward)
    await this.#connections.during(id, served, () =>
      this.#deps.access.closeForward(identity, open.place, open.forward, outcome),
    )
  }

  /** Those of a session that their worker did not close. All are tried; throws what failed first. */
  async closeOf(served: Served, session: SessionId): Promise<void> {
    const { identity } = served
    const failures: unknown[] = []
    for (const [id, { forward, place }] of served.forwards) {
      if (identity === undefined || forward.session !== session) continue
      served.forwards.delete(id)
      const outcome = { bytesIn: 0, bytesOut: 0, ended: 'interrupted' }
      try {
        await this.#deps.access.closeForward(identity, place, forward, outcome)
      } catch (err) {
        failures.push(err)
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  /** Asked in this order: of who may not, no name is looked up for them. */
  async #refuse(
    identity: Identity,
    { target, login }: Authorization,
    wish: ForwardWish,
  ): Promise<Denial | undefined> {
    const { access } = this.#deps
    const { kind, host, port } = wish
    const asked = {
      target: target.name,
      login,
      kind,
      // Where a target listens is not where a forward leads.
      ...(kind === 'forward' && host !== undefined && port !== undefined
        ? { destination: { host, port } }
        : {}),
    }
    if (!certificatePermits(identity, kind)) return access.refuseForward(identity, asked, target)
    const denial = await access.permit(identity, asked)
    if (denial !== undefined) return denial
    return (await this.#isOwn(wish, target))
      ? access.refuseForward(identity, asked, target)
      : undefined
  }

  async #isOwn({ kind, host, port, path }: ForwardWish, target: Authorization['target']) {
    const { guard } = this.#deps
    if (kind !== 'forward') return false
    if (path !== undefined) return guard.refusesPath(path, target)
    return host !== undefined && port !== undefined && guard.refuses({ host, port }, target)
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
