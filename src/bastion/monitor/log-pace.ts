import { setTimeout as sleep } from 'node:timers/promises'

/** Entries of a tenant's log that one user may cause. */
const perSecond = 500
/** Further entries for a user who caused none for a while. */
const burst = 5000

/**
 * Delays a user whose acts write to the log too fast. The acts wait, and the user's client with
 * them; no entry is dropped. Ends are never delayed.
 */
export class LogPace {
  /** Until when the entries of a user use up the rate, on the clock of performance.now(). */
  readonly #until = new Map<string, number>()

  /** Resolves when the user may cause these entries. */
  async take(user: string, entries: number): Promise<void> {
    if (entries === 0) return
    const now = performance.now()
    this.#forget(now)
    const until = Math.max(now, this.#until.get(user) ?? 0) + (entries * 1000) / perSecond
    this.#until.delete(user)
    this.#until.set(user, until)
    const waitMs = until - (burst * 1000) / perSecond - now
    if (waitMs > 0) await sleep(waitMs)
  }

  /** A user is kept while their entries use up the rate: ten seconds, or as long as they are held back. */
  #forget(now: number): void {
    for (const [user, until] of this.#until) {
      if (until > now) return
      this.#until.delete(user)
    }
  }
}
