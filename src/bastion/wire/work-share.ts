/** For each millisecond of work on the messages of one worker, two are for others. */
const restPerWork = 2
/** Work of this long is done at once: no user waits for more than that. */
const advanceMs = 100

/**
 * How much work the messages of one other process may cause here. A limit on their number is not
 * enough: some messages cost a hundred times as much as others.
 *
 * Work is the time of the processor, not of the clock: other programs of the machine do not count.
 */
export class WorkShare {
  #owedMs = 0
  #restedAtMs = performance.now()

  /** Does the work. Returns for how many milliseconds there must be no more. */
  spend(work: () => void): number {
    const restedMs = performance.now() - this.#restedAtMs
    const before = workedMs()
    try {
      work()
    } finally {
      const paidMs = restedMs / restPerWork
      this.#owedMs = Math.max(0, this.#owedMs - paidMs) + workedMs() - before
      this.#restedAtMs = performance.now()
    }
    return Math.max(0, this.#owedMs - advanceMs) * restPerWork
  }
}

/** Milliseconds of the processor that this thread has had. */
export function workedMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
