import { setTimeout as sleep } from 'node:timers/promises'

export interface LogPaceLimits {
  /** Entries of a tenant's log that one user may cause. */
  readonly perSecond: number
  /** Further entries for a user who caused none for a while. */
  readonly burst: number
  /** How long what is counted may hold a user back. */
  readonly backlogMs?: number
}

/** For people who work over SSH: a command that removes a tree of files writes one entry for each. */
const overSsh: LogPaceLimits = { perSecond: 500, burst: 5000 }

const backlogMaxMs = 10_000
/** How often what waits beyond the backlog looks whether it still must. */
const lookMs = 1000

/** Delays or refuses a user whose acts write to the log too fast. No entry is dropped. */
export class LogPace {
  readonly #limits: LogPaceLimits
  /** Until when the entries of a user use up the rate, on the clock of performance.now(). */
  readonly #until = new Map<string, number>()

  constructor(limits: LogPaceLimits = overSsh) {
    this.#limits = limits
  }

  /**
   * Resolves when the user may cause these entries. The acts wait, and the user's client with them. Ends
   * are never delayed.
   *
   * What waits is counted before anybody has judged it, so a worker that was taken over could hold back its
   * user in all workers: what is beyond a short backlog waits without being counted, and only while it is
   * held. A worker that is gone holds nobody back: then what it asked for is judged at once.
   */
  async take(user: string, entries: number, isHeld = () => true): Promise<void> {
    if (entries === 0) return
    const { backlogMs = backlogMaxMs } = this.#limits
    for (;;) {
      const beyondMs = this.#waitMs(user, entries) - backlogMs
      if (beyondMs <= 0) break
      await sleep(Math.min(beyondMs, lookMs))
      if (!isHeld()) return
    }
    const waitMs = this.#waitMs(user, entries)
    this.#add(user, entries)
    if (waitMs > 0) await sleep(waitMs)
  }

  /** Whether the user may cause these entries now. If not, nothing is counted. */
  takeNow(user: string, entries: number): boolean {
    const mayNow = this.#waitMs(user, entries) <= 0
    if (mayNow) this.#add(user, entries)
    return mayNow
  }

  #waitMs(user: string, entries: number): number {
    const { perSecond, burst } = this.#limits
    return this.#usedUntil(user, entries) - (burst * 1000) / perSecond - performance.now()
  }

  #usedUntil(user: string, entries: number): number {
    const from = Math.max(performance.now(), this.#until.get(user) ?? 0)
    return from + (entries * 1000) / this.#limits.perSecond
  }

  #add(user: string, entries: number): void {
    this.#forget(performance.now())
    const until = this.#usedUntil(user, entries)
    this.#until.delete(user)
    this.#until.set(user, until)
  }

  /** A user is kept while their entries use up the rate: until the burst is there again, or held back. */
  #forget(now: number): void {
    for (const [user, until] of this.#until) {
      if (until > now) return
      this.#until.delete(user)
    }
  }
}
