import { actAndAppendBy } from '../audit/index.ts'
import type { Actor } from '../auth/index.ts'
import { background, type Log } from '../log.ts'
import {
  type Database,
  type InstanceId,
  notificationUsage,
  notificationUsageMax,
  parseTenantId,
  type TenantId,
  type WriteTx,
} from '../postgres/index.ts'
import { parseSessionId, type SessionId } from '../recorder/index.ts'
import { type Baseless, findBaseless } from './baseless.ts'
import {
  type KilledRow,
  listKilled,
  listTenantsToLookAt,
  lockUnmarked,
  notify,
} from './kill-queries.ts'
import type { LiveSessions } from './live-sessions.ts'
import type { AccessMetrics } from './metrics.ts'
import { sessionKilled } from './session-events.ts'
import { findSession, findSessionTenant } from './session-queries.ts'
import { TenantLooks } from './tenant-looks.ts'

/** Ends sessions and forwards of this process. */
export interface KillListener {
  /** The reason is for the session's user. */
  session(session: SessionId, reason: string): void
  /** One forward of a session that goes on. */
  forward(forward: string, reason: string): void
}

export type KillResult = 'killed' | 'not-live' | 'unknown'

/** Carries the tenant of a session that was marked. */
const killChannel = 'vaultterm_session_kill'
/** Carries the tenant of a change: triggers notify of every change that can end a session. */
const changeChannel = 'vaultterm_access_change'

/** The time between checks for changes that send no notification: a grant that expires, a full queue. */
const sweepMs = 15_000
const looksAfterCrowd = 3
/**
 * Every tenant with live sessions here is checked again after this time, even without a
 * notification.
 */
const lookAgainMs = 300_000
/** Between lines about notifications that were not understood. */
const complainMs = 60_000
const system: Actor = { kind: 'system', id: 'access', name: 'VaultTerm' }

/**
 * Ends sessions against their users' will: an operator asked for it, or a right is gone.
 *
 * The mark on a session's row decides, with its reason. The database sets it only together with its event,
 * and takes the reason from there.
 * A notification says only at which tenant to look: any login of the database can send one. A forward
 * that is no longer allowed ends alone where its session may go on. It has no mark, because only the
 * node that carries it knows it.
 */
export class Kills {
  readonly #database: Database
  readonly #live: LiveSessions
  readonly #log: Log
  readonly #metrics: AccessMetrics
  readonly #instance: () => InstanceId | undefined
  /** Sweeps that must look at every tenant, because an act may have sent no notification. */
  #owedLooks = 0

  constructor(deps: {
    readonly database: Database
    readonly live: LiveSessions
    readonly log: Log
    readonly metrics: AccessMetrics
    /** Of this process, once it serves. */
    readonly instance: () => InstanceId | undefined
  }) {
    this.#database = deps.database
    this.#live = deps.live
    this.#log = deps.log
    this.#metrics = deps.metrics
    this.#instance = deps.instance
  }

  async kill(
    id: string,
    actor: Actor,
    reason = 'an operator ended this session',
  ): Promise<KillResult> {
    const session = parseSessionId(id)
    if (session === undefined) return 'unknown'
    const found = await this.#database.system((tx) => findSessionTenant(tx, session))
    if (found === undefined) return 'unknown'
    return this.killIn(found.tenant, session, actor, reason)
  }

  /** The same for a session of one tenant. */
  killIn(
    tenant: TenantId,
    session: SessionId,
    actor: Actor,
    reason: string,
  ): Promise<Exclude<KillResult, 'unknown'>> {
    return this.#database.write(tenant, async (tx) => {
      const [row] = await lockUnmarked(tx, [session])
      if (row === undefined && (await findSession(tx, session))?.endedAt !== null) return 'not-live'
      // Also if it was marked before: an operator who asks twice sees that the session goes on.
      await notify(tx, killChannel, tenant)
      if (row !== undefined) {
        await mark(tx, row, reason, actor)
        this.#metrics.kills.inc({ why: 'asked' })
      }
      return 'killed'
    })
  }

  /**
   * Calls the listener for each session and forward of this process that must end, until the
   * returned function is called.
   */
  async onKill(listener: KillListener): Promise<() => Promise<void>> {
    const tell: KillListener = {
      session: (session, reason) => {
        if (this.#live.has(session)) listener.session(session, reason)
      },
      forward: (forward, reason) => listener.forward(forward, reason),
    }
    const looks = new TenantLooks((tenant) => this.#look(tenant, tell))
    const lookAtAll = () => {
      for (const tenant of this.#live.tenants()) looks.ask(tenant)
    }
    let complainedAtMs = -Infinity
    const heard = (payload: string | undefined) => {
      // Notifications may have been missed.
      if (payload === undefined) return lookAtAll()
      const tenant = parseTenantId(payload)
      if (tenant !== undefined) {
        if (this.#live.of(tenant).length > 0) looks.ask(tenant)
      } else if (performance.now() - complainedAtMs > complainMs) {
        complainedAtMs = performance.now()
        this.#log.warn(
          'a notification is malformed: find out which program sent it to the database',
        )
      }
    }
    const kills = await this.#database.listen(killChannel, heard)
    const changes = await this.#database.listen(changeChannel, heard)
    const sweep = setInterval(
      () =>
        background(
          this.#sweep(looks, lookAtAll),
          this.#log,
          'the check for sessions that must end',
        ),
      sweepMs,
    ).unref()
    const again = setInterval(lookAtAll, lookAgainMs).unref()
    return async () => {
      clearInterval(sweep)
      clearInterval(again)
      looks.close()
      await kills.close()
      await changes.close()
    }
  }

  /** One statement for all tenants, which reads only those with live sessions of this instance. */
  async #sweep(looks: TenantLooks, lookAtAll: () => void): Promise<void> {
    const instance = this.#instance()
    if (instance === undefined) return lookAtAll()
    try {
      const [usage, found] = await this.#database.system((tx) =>
        Promise.all([notificationUsage(tx), listTenantsToLookAt(tx, instance)]),
      )
      if (this.#mayHaveMissed(usage)) return lookAtAll()
      for (const { tenant } of found) looks.ask(tenant)
    } catch (err) {
      this.#log.warn({ err }, 'could not check which sessions must end')
    }
  }

  #mayHaveMissed(usage: number): boolean {
    const isCrowded = usage >= notificationUsageMax
    if (isCrowded && this.#owedLooks === 0) {
      this.#log.warn({ usage }, 'the queue of notifications of the database fills up')
    }
    // An act that met a full queue may commit some seconds after it has emptied.
    this.#owedLooks = isCrowded ? looksAfterCrowd : Math.max(0, this.#owedLooks - 1)
    return isCrowded || this.#owedLooks > 0
  }

  /** Ends this process's sessions of a tenant that are marked, and those that are no longer allowed. */
  async #look(tenant: TenantId, tell: KillListener): Promise<void> {
    try {
      const ids = this.#live.of(tenant)
      if (ids.length === 0) return
      // Read before the rows that decide about them: newer forwards were decided about by newer rows.
      const forwards = this.#live.forwardsOf(tenant)
      const { killed, baseless } = await this.#database.read(tenant, async (tx) => ({
        killed: await listKilled(tx, ids),
        baseless: await findBaseless(tx, ids, forwards),
      }))
      for (const { id, reason } of killed) tell.session(id, reason)
      await this.#mark(tenant, baseless)
      for (const [id, reason] of baseless.sessions) tell.session(id, reason)
      for (const [id, reason] of baseless.forwards) tell.forward(id, reason)
    } catch (err) {
      this.#log.warn({ err, tenant }, 'could not check which sessions must end')
    }
  }

  /** Sessions end also where the log takes no mark: access that was taken away does not wait for it. */
  async #mark(tenant: TenantId, { sessions }: Baseless): Promise<void> {
    if (sessions.size === 0) return
    try {
      const marked = await this.#database.write(tenant, (tx) => markBaseless(tx, sessions), {
        retry: true,
      })
      this.#metrics.kills.inc({ why: 'baseless' }, marked)
    } catch (err) {
      this.#log.error({ err, tenant }, 'sessions end, but their kill could not be put on record')
    }
  }
}

/** Locks all of them before the first event: the log's lock is the last one that a transaction takes. */
async function markBaseless(
  tx: WriteTx,
  baseless: ReadonlyMap<SessionId, string>,
): Promise<number> {
  const rows = await lockUnmarked(tx, [...baseless.keys()])
  for (const row of rows) await mark(tx, row, baseless.get(row.id) ?? '', system)
  return rows.length
}

async function mark(tx: WriteTx, row: KilledRow, reason: string, actor: Actor): Promise<void> {
  const door = { name: 'session_kill', subject: row.id } as const
  await actAndAppendBy(tx, door, sessionKilled(row, reason, actor))
}
