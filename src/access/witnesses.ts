import { background, type Log } from '../log.ts'
import type { Database, TenantId } from '../postgres/index.ts'
import {
  type Evidence,
  type KeptWitness,
  type RecordingDigest,
  type RecordingPoint,
  RecordingWitness,
  type SessionId,
} from '../recorder/index.ts'
import { keepWitnesses, type WitnessEntry } from './witness-queries.ts'

interface Watched {
  readonly tenant: TenantId
  readonly witness: RecordingWitness
  /** Of the last point, by performance.now(). */
  atMs: number
  /** The number of bytes that the stored witness covers. */
  savedBytes: number
}

/** The witness of a recording that has ended. */
export interface Testimony {
  readonly kept: KeptWitness
  /** 'altered' if the digest contradicts the witness; the file was not compared yet. */
  readonly evidence: Evidence | undefined
}

/** A process that dies loses at most the points of this time. */
const saveMs = 15_000
/** In one statement. */
const batchMax = 100

/**
 * Remembers the workers' reports about the recordings that they write, so that a worker that is
 * taken over cannot change earlier parts unnoticed. The memory of this process is also saved at
 * intervals, for the process that ends its sessions when it dies.
 */
export class Witnesses {
  readonly #database: Database
  readonly #log: Log
  readonly #watched = new Map<SessionId, Watched>()
  #timer: NodeJS.Timeout | undefined
  #saving: Promise<void> | undefined

  constructor(database: Database, log: Log) {
    this.#database = database
    this.#log = log
  }

  /** Of a live session. */
  add(tenant: TenantId, session: SessionId, point: RecordingPoint): void {
    const known = this.#watched.get(session)
    const watched = known ?? { tenant, witness: new RecordingWitness(), atMs: 0, savedBytes: 0 }
    if (!watched.witness.add(point)) return
    watched.atMs = performance.now()
    this.#watched.set(session, watched)
    this.#timer ??= setTimeout(() => this.#saveSoon(), saveMs).unref()
  }

  /** Of a recording that was cut off. */
  find(session: SessionId): KeptWitness | undefined {
    return this.#watched.get(session)?.witness.kept
  }

  /**
   * The witness of an ended recording, with its digest, or without one if no recording was kept.
   */
  end(session: SessionId, digest: RecordingDigest | undefined): Testimony | undefined {
    const witness = this.#watched.get(session)?.witness
    this.#watched.delete(session)
    if (witness?.kept === undefined) return undefined
    if (digest === undefined || !witness.allows(digest)) {
      return { kept: witness.kept, evidence: 'altered' }
    }
    // Also the end of the file is bound from now on.
    witness.add(digest, Number.POSITIVE_INFINITY)
    return { kept: witness.kept, evidence: undefined }
  }

  forget(session: SessionId): void {
    this.#watched.delete(session)
  }

  /** Saves new points, each tenant's in its own transaction. */
  async save(): Promise<void> {
    this.#saving ??= this.#saveAll().finally(() => {
      this.#saving = undefined
    })
    await this.#saving
  }

  close(): void {
    clearTimeout(this.#timer)
  }

  #saveSoon(): void {
    this.#timer = undefined
    const saved = this.save().finally(() => {
      if (this.#watched.size > 0) this.#timer ??= setTimeout(() => this.#saveSoon(), saveMs).unref()
    })
    background(saved, this.#log, 'the witnesses of recordings')
  }

  async #saveAll(): Promise<void> {
    const fresh = [...this.#watched].filter(
      ([, { witness, savedBytes }]) => witness.bytes > savedBytes,
    )
    const byTenant = Map.groupBy(fresh, ([, { tenant }]) => tenant)
    for (const [tenant, sessions] of byTenant) {
      for (let at = 0; at < sessions.length; at += batchMax) {
        await this.#saveBatch(tenant, sessions.slice(at, at + batchMax))
      }
    }
  }

  async #saveBatch(tenant: TenantId, batch: readonly [SessionId, Watched][]): Promise<void> {
    const nowMs = performance.now()
    const entries = batch.flatMap(([session, { witness, atMs }]): WitnessEntry[] => {
      const { kept } = witness
      return kept === undefined ? [] : [{ session, kept, agoMs: nowMs - atMs }]
    })
    try {
      await this.#database.write(tenant, (tx) => keepWitnesses(tx, entries))
      for (const { session, kept } of entries) {
        const watched = this.#watched.get(session)
        if (watched !== undefined) watched.savedBytes = kept.bytes
      }
    } catch (err) {
      // Saved with the next ones; meanwhile this process remembers.
      this.#log.warn({ err, tenant }, 'the witnesses of recordings could not be saved')
    }
  }
}
