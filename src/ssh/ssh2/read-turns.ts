import { FairQueue, type TurnOwner } from '../../turns.ts'

/** From the first read of a turn of the loop on. After that, reads wait. */
const turnMs = 30
/** Of each turn, for those that waited. */
const waitedMs = 8

/**
 * The work on the reads of all sockets of the process. A thousand sockets that each take their own share
 * would make one turn of the loop last for seconds, and a process that comes to nothing else does not even
 * answer that it lives. So reads share a turn, and those that wait are served by owner: one user's thousand
 * connections delay another user by one read.
 */
export class ReadTurns {
  readonly #waiting = new FairQueue<() => void>()
  /** Of the first read of this turn. */
  #begunAtMs: number | undefined

  /** Does it at once, or in a later turn. */
  take(owner: TurnOwner, work: () => void): void {
    const isLate = performance.now() - this.#begin() >= turnMs
    if (isLate || this.#waiting.size > 0) this.#waiting.add(owner, work)
    else work()
  }

  #begin(): number {
    if (this.#begunAtMs === undefined) {
      this.#begunAtMs = performance.now()
      // Timers and other sockets come first: what the loop finds ready waits in the same queue.
      setImmediate(() => this.#next())
    }
    return this.#begunAtMs
  }

  #next(): void {
    this.#begunAtMs = undefined
    while (this.#waiting.size > 0) {
      if (performance.now() - this.#begin() >= waitedMs) return
      this.#waiting.take(() => true)?.()
    }
  }
}
