import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Database, TenantId } from '../postgres/index.ts'
import { SignerFailed } from './errors.ts'
import type { AuditEvent } from './event-types.ts'
import { appendLastEvent, type Receipt } from './log.ts'
import { registerAuditMetrics } from './metrics.ts'
import { formatVerifierKey } from './note.ts'
import { Publisher } from './publisher.ts'
import { readTree } from './queries.ts'
import { type CheckpointSigner, keyOf } from './signer.ts'
import { type AuditEntry, listEntries } from './tail.ts'
import { type VerifyReport, verifyLog } from './verify.ts'

export interface Audit {
  /** Appends in a transaction of its own: for an act outside the database, intent and outcome. */
  append(tenant: TenantId, event: AuditEvent): Promise<Receipt>
  /** The events after an index, oldest first, at most limit; without after, the last ones. */
  tail(
    tenant: TenantId,
    options: { readonly after?: number; readonly limit: number },
  ): Promise<AuditEntry[]>
  /** Each event after an index as it is committed, until the signal is aborted. */
  follow(
    tenant: TenantId,
    options: { readonly after?: number; readonly signal: AbortSignal },
  ): AsyncIterable<AuditEntry>
  /** Recomputes the whole log and says what is wrong, and where. */
  verify(tenant: TenantId): Promise<VerifyReport>
  /** Signs the head of the log as it is now and keeps the note; refuses an inconsistent one. */
  checkpoint(tenant: TenantId): Promise<string>
  /** The same for every log that has grown. Failures are logged and counted, not thrown. */
  checkpointAll(): Promise<void>
  /** Does that again and again, until close(). */
  startPublisher(intervalMs?: number): void
  /** What anybody needs to verify the log's checkpoints: a C2SP verifier key. */
  verifierKey(tenant: TenantId): Promise<string>
  close(): Promise<void>
}

const publishIntervalMs = 5000
const followIntervalMs = 500
const followBatchMax = 500

/**
 * Makes the audit log of an installation. The signer is asked for when it is first needed: the
 * vault, which has it, needs the log itself. Without one, nothing can be signed or verified.
 */
export function createAudit({
  database,
  log,
  metrics,
  signer,
}: {
  readonly database: Database
  readonly log: Log
  readonly metrics: Metrics
  readonly signer?: () => Promise<CheckpointSigner>
}): Audit {
  registerAuditMetrics(metrics)
  const getSigner = signer ?? (() => Promise.reject(new SignerFailed('there is no signer')))
  const publisher = new Publisher(database, getSigner, log.child({ module: 'audit' }))
  const tail: Audit['tail'] = (tenant, options) =>
    database.read(tenant, (tx) => listEntries(tx, options))
  return {
    append: (tenant, event) => database.write(tenant, (tx) => appendLastEvent(tx, event)),
    tail,
    async *follow(tenant, { after, signal }) {
      let last = after ?? (await tail(tenant, { limit: 1 })).at(-1)?.index ?? -1
      while (!signal.aborted) {
        const entries = await tail(tenant, { after: last, limit: followBatchMax })
        for (const entry of entries) {
          if (signal.aborted) return
          last = entry.index
          yield entry
        }
        // The only failure of a pause is that it was ended.
        if (entries.length === 0) await sleep(followIntervalMs, null, { signal }).catch(() => {})
      }
    },
    async verify(tenant) {
      const given = await getSigner()
      return database.read(tenant, (tx) => verifyLog(tx, (origin) => keyOf(given, origin)), {
        snapshot: true,
      })
    },
    checkpoint: (tenant) => publisher.publish(tenant),
    checkpointAll: () => publisher.publishAll(),
    startPublisher: (intervalMs = publishIntervalMs) => publisher.start(intervalMs),
    async verifierKey(tenant) {
      const { origin } = await database.read(tenant, readTree)
      return formatVerifierKey(keyOf(await getSigner(), origin))
    },
    close: () => publisher.close(),
  }
}
