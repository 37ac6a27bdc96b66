export interface WorkShareLimits {
  /** For each millisecond of this work, so many are for other work. */
  readonly restPerWork: number
  /** Work of this long is done at once: nobody waits for more than that. */
  readonly advanceMs: number
  /** No more than this is owed, whatever was done: the rest of it is forgiven. Without a limit if not given. */
  readonly owedMsMax?: number
}

const defaultLimits: WorkShareLimits = { restPerWork: 2, advanceMs: 100 }

/**
 * How much work others may cause here, by messages or requests. A limit on their number is not enough: some
 * cost a hundred times as much as others.
 *
 * Work is the time of the processor, not of the clock: other programs of the machine do not count.
 */
export class WorkShare {
  readonly #limits: WorkShareLimits
  #owedMs = 0
  #restedAtMs = performance.now()

  constructor(limits: WorkShareLimits = defaultLimits) {
    this.#limits = limits
  }

  /** Does the work. Returns for how many milliseconds there must be no more. */
  spend(work: () => void): number {
    const startedAtMs = performance.now()
    const before = workedMs()
    let restMs = 0
    try {
      work()
    } finally {
      restMs = this.owe(workedMs() - before, startedAtMs)
    }
    return restMs
  }

  /** Counts work that has been done since then, and returns the same. */
  owe(workMs: number, startedAtMs = performance.now()): number {
    const { restPerWork, advanceMs, owedMsMax = Number.POSITIVE_INFINITY } = this.#limits
    const paidMs = Math.max(0, startedAtMs - this.#restedAtMs) / restPerWork
    this.#owedMs = Math.min(owedMsMax, Math.max(0, this.#owedMs - paidMs) + workMs)
    this.#restedAtMs = performance.now()
    return Math.max(0, this.#owedMs - advanceMs) * restPerWork
  }
}

/** Milliseconds of the processor that this thread has had. */
export function workedMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
