import { bootClockMs } from '../boot-clock.ts'
import { CodedError } from '../errors.ts'
import type { TenantId } from '../postgres/index.ts'
import { Backoff } from './backoff.ts'
import { type CheckpointForged, type LogInconsistent, LogUnsigned } from './errors.ts'
import { inconsistentLogs } from './metrics.ts'

const toldElsewhere: readonly string[] = [
  'ERR_VAULT_SEALED',
  'ERR_VAULT_SEAL_FORGED',
  'ERR_DATABASE_UNAVAILABLE',
]
/** After this time, a log that cannot be signed makes the node not ready. */
const unsignedMsMax = 60_000

/** What keeps logs from being signed: which ones, since when, and when to try again. */
export class LogTroubles {
  /** Logs that contradict their signed heads. They are not signed, and checked again later. */
  readonly #inconsistent = new Map<TenantId, LogInconsistent | CheckpointForged>()
  /** Logs that could not be signed, since when and why; `all` where nobody knows which ones wait. */
  readonly #failing = new Map<
    TenantId | 'all',
    { readonly sinceMs: number; readonly err: unknown }
  >()
  readonly #backoff: Backoff<TenantId>
  /** The logs that are tried again later, with the name of the log that failed. */
  readonly #failed = new Map<TenantId, string | undefined>()
  readonly #now: () => number

  /** Needs a clock that nobody sets: else a log would wait until the old time has come again. */
  constructor(now: () => number = bootClockMs) {
    this.#now = now
    this.#backoff = new Backoff(now)
  }

  /**
   * Throws the first known contradiction, or the reason why a log could not be signed for a minute. Until it
   * is signed, its last events can be cut without a trace.
   */
  requireNone(): void {
    for (const contradiction of this.#inconsistent.values()) throw contradiction
    for (const { sinceMs, err } of this.#failing.values()) {
      const waitedMs = this.#now() - sinceMs
      if (waitedMs > unsignedMsMax) throw new LogUnsigned(Math.round(waitedMs / 1000), err)
    }
  }

  /** Logs that are not to be tried yet. */
  waiting(): TenantId[] {
    return this.#backoff.waiting()
  }

  isWaiting(tenant: TenantId): boolean {
    return this.#backoff.isWaiting(tenant)
  }

  /** A log under that name failed: it waits before it is tried again. */
  postpone(tenant: TenantId, origin: string | undefined): void {
    this.#backoff.failed(tenant)
    this.#failed.set(tenant, origin)
  }

  /** An operator gave a log up, and a new one took its place: that has not failed. */
  forgetFormer(originOf: (tenant: TenantId) => string | undefined): void {
    for (const [tenant, origin] of this.#failed) {
      if (originOf(tenant) === origin) continue
      this.#backoff.succeeded(tenant)
      this.#failed.delete(tenant)
    }
  }

  /** Answers whether the reason was known. */
  contradicted(tenant: TenantId, err: LogInconsistent | CheckpointForged): boolean {
    const known = this.#inconsistent.get(tenant)?.contradiction
    this.#inconsistent.set(tenant, err)
    inconsistentLogs.set(this.#inconsistent.size)
    return known === err.contradiction
  }

  /** False when an operator sealed the vault, or the database is away: others say so. */
  failed(log: TenantId | 'all', err: unknown): boolean {
    if (isToldElsewhere(err)) {
      this.#failing.delete(log)
      return false
    }
    this.#failing.set(log, { sinceMs: this.#failing.get(log)?.sinceMs ?? this.#now(), err })
    return true
  }

  signed(tenant: TenantId): void {
    this.#backoff.succeeded(tenant)
    this.#failed.delete(tenant)
    this.#failing.delete(tenant)
    this.#inconsistent.delete(tenant)
    inconsistentLogs.set(this.#inconsistent.size)
  }

  /** The logs that have grown are known again. */
  listed(): void {
    this.#failing.delete('all')
  }
}

/** Whether others say so: an operator sealed the vault, or the database is away. */
export function isToldElsewhere(err: unknown): boolean {
  return err instanceof CodedError && toldElsewhere.includes(err.code)
}
