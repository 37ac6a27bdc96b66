import type { Log } from '../log.ts'
import { type Database, systemTenant, type TenantId } from '../postgres/index.ts'
import type { Continuation } from './continuation.ts'
import type { LogInconsistent } from './errors.ts'
import type { AuditEvent } from './event-types.ts'
import { appendLastEvent } from './log.ts'
import { rootHash } from './merkle.ts'
import { forgedCheckpoints, lostEvents } from './metrics.ts'
import type { Compared, OwnAppend } from './own-appends.ts'
import type { SignedHead } from './signed-heads.ts'

/** Of many events or sizes, so many are named. */
export const namedMax = 10

/**
 * Puts on record what was found wrong with a log: on that log, and on the platform's as well, because the
 * tenant's own may be set back again.
 */
export class Findings {
  readonly #database: Database
  readonly #log: Log
  /** For each log, the largest size at which a forged note was put on record. */
  readonly #forged = new Map<TenantId, number>()
  /** Those that were counted as lost. */
  readonly #lost = new WeakSet<OwnAppend>()

  constructor(database: Database, log: Log) {
    this.#database = database
    this.#log = log
  }

  /** Whether a forged note of that size, or of a larger one, is on record. */
  hasForgery(tenant: TenantId, size: number): boolean {
    return (this.#forged.get(tenant) ?? 0) >= size
  }

  async tellForgery(tenant: TenantId, { tree, last, forged }: Continuation): Promise<void> {
    const { origin } = tree
    const [largest = 0] = forged
    this.#log.error(
      { tenant, origin, sizes: forged.slice(0, namedMax) },
      'forged checkpoint in the database',
    )
    if (!this.hasForgery(tenant, largest)) forgedCheckpoints.inc(forged.length)
    const event = {
      type: 'audit.forged',
      public: {
        tenant,
        origin,
        size: String(largest),
        count: String(forged.length),
        signedSize: last && String(last.size),
      },
    } as const
    await this.#database.write(tenant, (tx) => appendLastEvent(tx, event))
    this.#forged.set(tenant, largest)
    if (tenant !== systemTenant) await this.#try(systemTenant, event)
  }

  /** Answers the id of the event on the log itself. */
  async tellLoss(
    tenant: TenantId,
    { tree, lost, givenUp }: Continuation & Compared,
  ): Promise<string> {
    const { origin, size } = tree
    const [first] = lost
    const events = lost.slice(0, namedMax).map(({ id, index }) => ({ id, index }))
    this.#log.error(
      { tenant, origin, count: lost.length, events, givenUp },
      lost.length > 0
        ? 'events of this process are gone from the audit log: somebody changed the database, or it lost them in a crash'
        : 'events of this process could not be compared with the audit log: too many waited for a signature',
    )
    for (const append of lost) {
      if (!this.#lost.has(append)) lostEvents.inc()
      this.#lost.add(append)
    }
    const event = {
      type: 'audit.lost',
      public: {
        tenant,
        origin,
        size: String(size),
        count: String(lost.length),
        uncompared: givenUp === 0 ? undefined : String(givenUp),
        firstEvent: first?.id,
        firstIndex: first && String(first.index),
      },
    } as const
    const { eventId } = await this.#database.write(tenant, (tx) => appendLastEvent(tx, event))
    if (tenant !== systemTenant) await this.#try(systemTenant, event)
    return eventId
  }

  /** The tenant's own log may not be writable. */
  async tellContradiction(
    tenant: TenantId,
    { contradiction }: LogInconsistent,
    signed: SignedHead | undefined,
  ): Promise<void> {
    const event = {
      type: 'audit.inconsistent',
      public: {
        tenant,
        contradiction,
        origin: signed?.origin,
        signedSize: signed && String(signed.size),
        signedRoot: signed && rootHash(signed).toString('hex'),
      },
    } as const
    for (const log of new Set([tenant, systemTenant])) await this.#try(log, event)
  }

  async #try(log: TenantId, event: AuditEvent): Promise<void> {
    await this.#database
      .write(log, (tx) => appendLastEvent(tx, event))
      .catch((err: unknown) => this.#log.error({ err, tenant: log }, 'not on record'))
  }
}
