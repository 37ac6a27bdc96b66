import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Database, TenantId } from '../postgres/index.ts'
import type { Secret } from '../secret.ts'
import {
  type CheckpointForged,
  type LogInconsistent,
  RepairRefused,
  SignerFailed,
} from './errors.ts'
import { decodeLeaf } from './event.ts'
import type { AuditEvent } from './event-types.ts'
import type { KeptCheckpoint } from './kept-checkpoint.ts'
import { appendLastEvent, type Receipt } from './log.ts'
import { registerAuditMetrics } from './metrics.ts'
import { formatVerifierKey } from './note.ts'
import { type ProvenLeaves, proveLeaves } from './proven-leaves.ts'
import { Publisher } from './publisher.ts'
import { findTree, listLeafBytes, readTree } from './queries.ts'
import { planRepair, type RepairOrder, type RepairPlan, repairLog } from './repair.ts'
import { forgetfulHeads, type SignedHeads, SignedHeadsFile } from './signed-heads.ts'
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
  /** Every event after an index, oldest first, without holding more than a page of them. */
  entries(tenant: TenantId, options?: { readonly after?: number }): AsyncIterable<AuditEntry>
  /**
   * Recomputes the whole log and reports each fault with its position. Compares it with the signed
   * head that this node remembers, and with the given checkpoints. If one of several checkpoints is
   * of this log, those of other logs are skipped.
   */
  verify(
    tenant: TenantId,
    options?: { readonly kept?: readonly KeptCheckpoint[] },
  ): Promise<VerifyReport>
  /**
   * All events whose leaf's bytes are wanted, in order. Reads the whole log, and compares it with its signed
   * heads: there are no others. Throws LogInconsistent when it was changed.
   */
  prove(tenant: TenantId, isWanted: (leaf: Buffer) => boolean): Promise<ProvenLeaves>
  /**
   * Whether a log contradicts its signed heads: checks the heads and the leaves between them. Or whether a
   * checkpoint that our key did not sign stands above the last checkpoint that it signed.
   */
  contradiction(tenant: TenantId): Promise<LogInconsistent | CheckpointForged | undefined>
  /** The logs of which this node remembers a signed head. */
  remembered(): Promise<readonly TenantId[]>
  /** Throws when this node knows of a log that contradicts its signed heads, or cannot sign one. */
  requireSound(): void
  /** Verifies a log, and plans its repair. */
  planRepair(tenant: TenantId): Promise<RepairPlan>
  /**
   * Carries out the plan, on record, and signs the new head. Needs the login of the owner of the
   * tables. Throws RepairRefused without one, or when the log has changed since.
   */
  repair(tenant: TenantId, plan: RepairPlan, order: RepairOrder): Promise<void>
  /** Signs the current head of the log and keeps the note; refuses an inconsistent log. */
  checkpoint(tenant: TenantId): Promise<string>
  /** The same for every log that has grown. Failures are logged and counted, not thrown. */
  checkpointAll(): Promise<void>
  /** Does that again and again, until close(). */
  startPublisher(intervalMs?: number): void
  /** A C2SP verifier key: with it, anybody can verify the log's checkpoints. */
  verifierKey(tenant: TenantId): Promise<string>
  /**
   * The first step of a stop: what this process appended, and no signed head covers, is on the disk of its home
   * when this returns. What comes later is written as well, by rounds, by close(), and when the process exits.
   */
  keepUnsigned(): void
  /**
   * Signs what this process appended, so that nothing of it can be cut once the process is gone. Throws
   * LogInconsistent where some of it is gone already. It takes some seconds at most: the rest is kept.
   */
  close(): Promise<void>
}

const publishIntervalMs = 5000
const followIntervalMs = 500
const followBatchMax = 500
const pageMax = 1000

/**
 * Makes the audit log of an installation. The signer is requested at its first use, because the
 * vault, which has it, needs the log itself. Without a signer, checkpoints can be neither signed
 * nor verified.
 */
export function createAudit({
  database,
  log,
  metrics,
  signer,
  signedHeads,
  owner,
}: {
  readonly database: Database
  readonly log: Log
  readonly metrics: Metrics
  readonly signer?: () => Promise<CheckpointSigner>
  /**
   * The file in which this node remembers signed heads; without one, it forgets them at its end.
   */
  readonly signedHeads?: string | undefined
  /** The login that owns the tables: only for repair(). */
  readonly owner?: Secret<string>
}): Audit {
  registerAuditMetrics(metrics)
  const getSigner = signer ?? (() => Promise.reject(new SignerFailed('there is no signer')))
  const heads: SignedHeads =
    signedHeads === undefined ? forgetfulHeads() : new SignedHeadsFile(signedHeads)
  const publisher = new Publisher(
    database,
    getSigner,
    heads,
    log.child({ module: 'audit' }),
    signedHeads && `${signedHeads}.unsigned`,
  )
  const tail: Audit['tail'] = (tenant, options) =>
    database.read(tenant, (tx) => listEntries(tx, options))
  const verify: Audit['verify'] = async (tenant, { kept = [] } = {}) => {
    const given = await getSigner()
    await heads.refresh()
    return database.read(
      tenant,
      async (tx) => {
        const origin = (await findTree(tx))?.origin ?? heads.find(tenant)?.origin
        const own = kept.filter((checkpoint) => checkpoint.origin === origin)
        return verifyLog(tx, (name) => keyOf(given, name), {
          remembered: heads.find(tenant),
          kept: own.length > 0 ? own : kept,
        })
      },
      { snapshot: true },
    )
  }
  /** Whether the log begins with the record that it took the place of the one that is remembered. */
  const followsRemembered = async (tenant: TenantId): Promise<boolean> => {
    const former = heads.find(tenant)
    const [first] = await database.read(tenant, (tx) => listLeafBytes(tx, 0, 1))
    const leaf = first && decodeLeaf(first.leaf)
    return leaf?.type === 'audit.repaired' && leaf.public.formerOrigin === former?.origin
  }
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
    async *entries(tenant, { after = -1 } = {}) {
      // A log only grows, so a transaction for each page sees the same log.
      for (let last = after; ; ) {
        const page = await tail(tenant, { after: last, limit: pageMax })
        yield* page
        last = page.at(-1)?.index ?? last
        if (page.length < pageMax) return
      }
    },
    verify,
    async prove(tenant, isWanted) {
      const given = await getSigner()
      await heads.refresh()
      return database.read(
        tenant,
        (tx) => proveLeaves(tx, (name) => keyOf(given, name), heads.find(tenant), isWanted),
        { snapshot: true },
      )
    },
    async contradiction(tenant) {
      await heads.refresh()
      return publisher.contradiction(tenant)
    },
    async remembered() {
      await heads.refresh()
      return [...heads.list()].map(({ tenant }) => tenant)
    },
    requireSound: () => publisher.requireSound(),
    async planRepair(tenant) {
      return planRepair(await verify(tenant), await followsRemembered(tenant))
    },
    async repair(tenant, plan, order) {
      if (plan.repair === 'none') return
      if (owner === undefined)
        throw new RepairRefused('the login of the tables’ owner is not known')
      // Before any change: the new head must be signed.
      await getSigner()
      if (plan.repair !== 'remember') await repairLog(owner, tenant, plan, order)
      await publisher.publishAnew(tenant)
    },
    async checkpoint(tenant) {
      await heads.refresh()
      return publisher.publish(tenant)
    },
    checkpointAll: () => publisher.publishAll(),
    startPublisher: (intervalMs = publishIntervalMs) => publisher.start(intervalMs),
    async verifierKey(tenant) {
      const { origin } = await database.read(tenant, readTree)
      return formatVerifierKey(keyOf(await getSigner(), origin))
    },
    keepUnsigned: () => publisher.keepUnsigned(),
    close: () => publisher.close(),
  }
}
