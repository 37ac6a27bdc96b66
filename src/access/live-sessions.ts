import type { Log } from '../log.ts'
import type { TenantId } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { LiveRegistry, LiveSession } from '../redis/index.ts'
import type { Authorization } from './authorization.ts'
import { AuthorizationInvalid } from './errors.ts'
import type { Forward } from './forwarding.ts'
import type { AccessMetrics } from './metrics.ts'

const renewMs = 20_000
const ttlMs = 60_000
/** A shorter session is never entered: that would cost more than the session. */
const showMs = 200

interface Live {
  readonly tenant: TenantId
  readonly authorization: Authorization
  /** Settles when it is on the log that its target was reached. */
  opening: Promise<void> | undefined
  readonly forwards: Map<string, Forward>
  entry: LiveSession | undefined
  /** Runs until the session is entered into the registry. */
  timer: NodeJS.Timeout | undefined
}

/**
 * The sessions that this process has started and not ended, with their open forwards, and their entries
 * in the registry, which other nodes read. The registry may fail: it is only a view.
 */
export class LiveSessions {
  readonly #registry: LiveRegistry | undefined
  readonly #log: Log
  readonly #metrics: AccessMetrics
  readonly #live = new Map<SessionId, Live>()
  readonly #ofTenant = new Map<TenantId, Set<SessionId>>()
  #timer: NodeJS.Timeout | undefined

  constructor(registry: LiveRegistry | undefined, log: Log, metrics: AccessMetrics) {
    this.#registry = registry
    this.#log = log
    this.#metrics = metrics
  }

  /** From here on a look at the tenant includes the session: call it before its row is committed. */
  expect(authorization: Authorization, session: SessionId): void {
    const { tenant } = authorization
    this.#live.set(session, {
      ...{ tenant, authorization, opening: undefined },
      ...{ forwards: new Map(), entry: undefined, timer: undefined },
    })
    const own = this.#ofTenant.get(tenant) ?? new Set()
    this.#ofTenant.set(tenant, own.add(session))
    this.#metrics.live.set(this.#live.size)
    this.#timer ??= setInterval(() => this.#renew(), renewMs).unref()
  }

  /** Enters a started session into the registry after a moment, unless it has ended by then. */
  show(session: SessionId, entry: LiveSession): void {
    const live = this.#live.get(session)
    if (live === undefined) return
    live.timer = setTimeout(() => {
      live.timer = undefined
      live.entry = entry
      this.#put(entry)
    }, showMs).unref()
  }

  /**
   * Calls `open` once for a live session: further calls get the answer of the first. One that failed may
   * be tried again. Throws AuthorizationInvalid where the session was not started with the authorization.
   */
  async openOnce(
    given: Authorization,
    session: SessionId,
    open: () => Promise<void>,
  ): Promise<void> {
    const live = this.#live.get(session)
    if (live === undefined || live.authorization !== given) throw new AuthorizationInvalid()
    live.opening ??= open().catch((err: unknown) => {
      live.opening = undefined
      throw err
    })
    return live.opening
  }

  remove(session: SessionId): void {
    const live = this.#live.get(session)
    if (live === undefined) return
    this.#live.delete(session)
    const own = this.#ofTenant.get(live.tenant)
    own?.delete(session)
    if (own?.size === 0) this.#ofTenant.delete(live.tenant)
    this.#metrics.live.set(this.#live.size)
    clearTimeout(live.timer)
    if (live.entry !== undefined) this.#take(live.tenant, session)
    if (this.#live.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Enters a forward of a live session: call it before the forward is decided about. */
  expectForward(forward: Forward): void {
    this.#live.get(forward.session)?.forwards.set(forward.id, forward)
  }

  removeForward({ id, session }: Forward): void {
    this.#live.get(session)?.forwards.delete(id)
  }

  /** Those in a tenant's sessions. */
  forwardsOf(tenant: TenantId): readonly Forward[] {
    return this.of(tenant).flatMap((session) => [
      ...(this.#live.get(session)?.forwards.values() ?? []),
    ])
  }

  has(session: SessionId): boolean {
    return this.#live.has(session)
  }

  tenantOf(session: SessionId): TenantId | undefined {
    return this.#live.get(session)?.tenant
  }

  tenants(): readonly TenantId[] {
    return [...this.#ofTenant.keys()]
  }

  of(tenant: TenantId): readonly SessionId[] {
    return [...(this.#ofTenant.get(tenant) ?? [])]
  }

  #renew(): void {
    for (const { entry } of this.#live.values()) if (entry !== undefined) this.#put(entry)
  }

  #put(entry: LiveSession): void {
    this.#registry
      ?.put(entry, ttlMs)
      .catch((err: unknown) => this.#log.warn({ err }, 'live session not shown to other nodes'))
  }

  #take(tenant: TenantId, session: SessionId): void {
    this.#registry
      ?.remove(tenant, session)
      .catch((err: unknown) => this.#log.warn({ err }, 'ended session still shown to other nodes'))
  }
}
