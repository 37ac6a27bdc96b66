import { appendEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import type { Database, TenantId } from '../postgres/index.ts'
import type { VaultMetrics } from './metrics.ts'

/** A row that VaultTerm did not write. */
interface ChangedRow {
  readonly kind: 'target' | 'user-key' | 'passkey' | 'authority' | 'secret'
  readonly id: string
  /** Names the row by its content. */
  readonly content: string
}

const reportedMax = 10_000

/** Puts rows that were changed in the database on the log, in the tenant's audit log and in the metrics. */
export class ChangeReports {
  readonly #database: Database
  readonly #metrics: VaultMetrics
  readonly #log: Log
  /** By tenant and content; at most reportedMax. */
  readonly #reported = new Set<string>()
  readonly #pending = new Set<Promise<void>>()

  constructor(database: Database, metrics: VaultMetrics, log: Log) {
    this.#database = database
    this.#metrics = metrics
    this.#log = log
  }

  /** Counts each time, and writes once in a process for each content. Does not wait for the writing. */
  report(tenant: TenantId, { kind, id, content }: ChangedRow): void {
    this.#metrics.refusals.inc({ reason: `changed-${kind}` })
    const name = `${tenant} ${content}`
    if (this.#reported.has(name)) return
    if (this.#reported.size >= reportedMax) this.#reported.clear()
    this.#reported.add(name)
    this.#log.error({ tenant, kind, id }, 'a row in the database is not as VaultTerm wrote it')
    const event = { type: 'record.refused', public: { record: kind, recordId: id } } as const
    const pending = this.#database
      .write(tenant, (tx) => appendEvent(tx, event))
      .then(() => {})
      .catch((err: unknown) =>
        this.#log.error({ err, tenant, kind, id }, 'a changed row is not in the audit log'),
      )
      .finally(() => this.#pending.delete(pending))
    this.#pending.add(pending)
  }

  /** Waits until everything reported is written. */
  async close(): Promise<void> {
    await Promise.all(this.#pending)
  }
}
