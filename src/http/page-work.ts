import { setTimeout as sleep } from 'node:timers/promises'
import { type TurnOwner, Turns } from '../turns.ts'
import { WorkShare, workedMs } from '../work-share.ts'

/** A quarter of the time is for pages. Opening a page and all that it shows takes far less than the advance. */
const limits = { restPerWork: 3, advanceMs: 50 }

/**
 * The work for pages in the process that also holds the lease and admits to SSH.
 *
 * It is done in small pieces, one in a turn of the event loop, so all else waits for no more than one. They
 * are the owners' in turn: half of them are for people who have signed in, if they ask for so many, and the
 * others are for strangers, one address after the other. All together take a quarter of the process's time.
 */
export class PageWork {
  readonly #turns = new Turns(1)
  readonly #share = new WorkShare(limits)

  /** Resolves when the work is done. Rejects with the signal's reason if it is aborted before. */
  async run(owner: TurnOwner, signal: AbortSignal, work: () => void): Promise<void> {
    using _turn = await this.#turns.take(owner, signal)
    const { startedAtMs, spentMs } = await measured(work)
    const restMs = this.#share.owe(spentMs, startedAtMs)
    if (restMs >= 1) await sleep(restMs)
  }

  /** Work that cannot wait. What comes next is later for it. */
  atOnce(work: () => void): void {
    this.#share.spend(work)
  }

  /** Work that will be done later on, and is not measured. */
  owe(workMs: number): void {
    this.#share.owe(workMs)
  }
}

/** Does the work, and measures it with all the promises that it settles. */
function measured(work: () => void): Promise<{ startedAtMs: number; spentMs: number }> {
  return new Promise((resolve) => {
    let startedAtMs = 0
    let before = 0
    setImmediate(() => {
      startedAtMs = performance.now()
      before = workedMs()
      work()
    })
    // Node settles promises between two of these, and does nothing else.
    setImmediate(() => resolve({ startedAtMs, spentMs: workedMs() - before }))
  })
}
