import { type TurnOwner, Turns } from '../../turns.ts'

/**
 * Turns for work that nobody can call off, such as a call of the system that hangs. The caller waits for
 * a limited time. The turn lasts until the work really ends, so that a tenant's work that hangs counts
 * against that tenant.
 */
export class TimedTurns {
  readonly #turns: Turns
  readonly #waitMs: number

  constructor(atOnce: number, waitMs: number) {
    this.#turns = new Turns(atOnce)
    this.#waitMs = waitMs
  }

  /** Rejects with a TimeoutError when neither a turn nor an answer comes in time. */
  async run<T>(owner: TurnOwner, work: () => Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>()
    const limit = new AbortController()
    const timer = setTimeout(() => {
      const reason = new DOMException('it took too long', 'TimeoutError')
      limit.abort(reason)
      late.reject(reason)
    }, this.#waitMs)
    try {
      const turn = await this.#turns.take(owner, limit.signal)
      return await Promise.race([during(turn, work), late.promise])
    } finally {
      clearTimeout(timer)
      // Of a race that it did not take part in, or lost.
      late.promise.catch(() => {})
    }
  }
}

async function during<T>(turn: Disposable, work: () => Promise<T>): Promise<T> {
  using _turn = turn
  return await work()
}
