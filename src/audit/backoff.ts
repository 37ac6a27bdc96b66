import { bootClockMs } from '../boot-clock.ts'

const firstMs = 5000
const longestMs = 60_000

/** When to try a failed item again: after growing pauses, separately for each item. */
export class Backoff<Key> {
  readonly #failures = new Map<Key, { count: number; untilMs: number }>()
  readonly #now: () => number

  constructor(now: () => number = bootClockMs) {
    this.#now = now
  }

  failed(key: Key): void {
    const count = (this.#failures.get(key)?.count ?? 0) + 1
    const pauseMs = Math.min(firstMs * 2 ** (count - 1), longestMs)
    this.#failures.set(key, { count, untilMs: this.#now() + pauseMs })
  }

  succeeded(key: Key): void {
    this.#failures.delete(key)
  }

  isWaiting(key: Key): boolean {
    return (this.#failures.get(key)?.untilMs ?? 0) > this.#now()
  }

  waiting(): Key[] {
    return [...this.#failures.keys()].filter((key) => this.isWaiting(key))
  }
}
