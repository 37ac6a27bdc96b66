/** How often something may be done. It is given back evenly: a tenth of the times in a tenth of the seconds. */
export interface Rate {
  readonly times: number
  readonly seconds: number
}

/** Keys that are remembered. Each is some 100 bytes; the oldest are forgotten first. */
const keysMax = 50_000

/** Counts by key, in the memory of this process. */
export class RateLimit {
  readonly #intervalMs: number
  readonly #burstMs: number
  readonly #now: () => number
  /** When all that the key did will have been given back. */
  readonly #clearAt = new Map<string, number>()

  constructor({ times, seconds }: Rate, now: () => number = () => performance.now()) {
    this.#intervalMs = (seconds * 1000) / times
    this.#burstMs = seconds * 1000 - this.#intervalMs
    this.#now = now
  }

  /** Counts one more. 0 if it may be done; otherwise it does not count, and may be done after so many seconds. */
  take(key: string): number {
    const now = this.#now()
    const clearAt = Math.max(this.#clearAt.get(key) ?? 0, now)
    const earlyMs = clearAt - now - this.#burstMs
    if (earlyMs > 0) return Math.ceil(earlyMs / 1000)
    // The key that was used last stands last.
    this.#clearAt.delete(key)
    this.#clearAt.set(key, clearAt + this.#intervalMs)
    this.#forget(now)
    return 0
  }

  #forget(now: number): void {
    for (const [key, clearAt] of this.#clearAt) {
      if (clearAt > now && this.#clearAt.size <= keysMax) return
      this.#clearAt.delete(key)
    }
  }
}
