import { setTimeout as sleep } from 'node:timers/promises'
import { type WorkOwner, WorkQueue } from '../work-queue.ts'
import { WorkShare, workedMs } from '../work-share.ts'

/**
 * A quarter of the time is for pages. Opening a page and all that it shows takes far less than the advance.
 *
 * Accepting connections cannot wait, and may take more than the quarter by itself: the next piece waits
 * 100 ms for it at most, so a flood of connections makes pages slow, and not unreachable.
 */
const limits = { restPerWork: 3, advanceMs: 50, owedMsMax: 50 + 100 / 3 }

interface Piece {
  readonly work: () => void
  readonly done: PromiseWithResolvers<void>
}

/**
 * The work for pages in the process that also holds the lease and admits to SSH.
 *
 * It is done in small pieces, one in a turn of the event loop, so all else waits for no more than one. Who
 * has caused the least work lately comes first. All together take a quarter of the process's time.
 */
export class PageWork {
  readonly #queue = new WorkQueue<Piece>()
  readonly #share = new WorkShare(limits)
  #isServing = false

  /** Resolves when the work is done. Rejects with the signal's reason if it is aborted before. */
  async run(owner: WorkOwner, signal: AbortSignal, work: () => void): Promise<void> {
    signal.throwIfAborted()
    const done = Promise.withResolvers<void>()
    const piece: Piece = { work, done }
    const leave = () => {
      this.#queue.remove(owner, piece)
      done.reject(signal.reason)
    }
    this.#queue.add(owner, piece)
    this.#serve().catch(done.reject)
    signal.addEventListener('abort', leave)
    try {
      await done.promise
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }

  /** Work that cannot wait. What comes next is later for it. */
  atOnce(owner: WorkOwner, work: () => void): void {
    const startedAtMs = performance.now()
    try {
      this.#share.spend(work)
    } finally {
      this.#queue.charge(owner, Math.min(1, performance.now() - startedAtMs))
    }
  }

  /** Work for the owner that was not done in a piece. */
  owe(owner: WorkOwner, workMs: number): void {
    this.#queue.charge(owner, workMs)
    this.#share.owe(workMs)
  }

  async #serve(): Promise<void> {
    if (this.#isServing) return
    this.#isServing = true
    try {
      for (let next = this.#queue.take(); next !== undefined; next = this.#queue.take()) {
        const { startedAtMs, spentMs, passedMs } = await measured(next.item)
        // The system counts a thread's time in steps of some milliseconds: right for many pieces, not for one.
        this.#queue.charge(next.owner, Math.min(passedMs, Math.max(spentMs, 1)))
        const restMs = this.#share.owe(spentMs, startedAtMs)
        next.item.done.resolve()
        if (restMs >= 1) await sleep(restMs)
      }
    } finally {
      this.#isServing = false
    }
  }
}

interface Measure {
  readonly startedAtMs: number
  /** Of the processor's time, and of the clock's. */
  readonly spentMs: number
  readonly passedMs: number
}

/** Does the work, and measures it with all the promises that it settles. */
function measured({ work, done }: Piece): Promise<Measure> {
  return new Promise((resolve) => {
    let startedAtMs = 0
    let before = 0
    setImmediate(() => {
      startedAtMs = performance.now()
      before = workedMs()
      try {
        work()
      } catch (err) {
        done.reject(err)
      }
    })
    // Node settles promises between two of these, and does nothing else.
    setImmediate(() => {
      const passedMs = performance.now() - startedAtMs
      resolve({ startedAtMs, spentMs: workedMs() - before, passedMs })
    })
  })
}
