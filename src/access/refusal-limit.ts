const perMinuteMax = 60
const sourcesMax = 10_000

/**
 * How many refusals of one user a minute go into the audit log: enough to see the problem, and too
 * few for a loop to fill the log.
 */
export class RefusalLimit {
  #minute = 0
  readonly #taken = new Map<string, number>()

  /** Whether this refusal may be logged. */
  take(user: string, nowMs: number): boolean {
    const minute = Math.floor(nowMs / 60_000)
    if (minute !== this.#minute) {
      this.#minute = minute
      this.#taken.clear()
    }
    const taken = this.#taken.get(user) ?? 0
    if (taken >= perMinuteMax || (taken === 0 && this.#taken.size >= sourcesMax)) return false
    this.#taken.set(user, taken + 1)
    return true
  }
}
