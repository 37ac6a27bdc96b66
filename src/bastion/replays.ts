import { createHash } from 'node:crypto'

/**
 * The connections on which somebody has logged in, by what their keys signed of them. A signature is
 * good for one connection: whoever took over a worker cannot use those that passed through it again.
 *
 * They are kept as long as the worker that they came through lives; what it knew ends with it.
 */
export class Replays {
  readonly #seen = new Map<object, Set<string>>()

  /** False when a login with this exchange hash was accepted before, by whatever worker. */
  take(worker: object, exchangeHash: Buffer): boolean {
    const name = createHash('sha256').update(exchangeHash).digest('base64').slice(0, 22)
    for (const names of this.#seen.values()) if (names.has(name)) return false
    const own = this.#seen.get(worker) ?? new Set()
    own.add(name)
    this.#seen.set(worker, own)
    return true
  }

  /** How many logins a worker has served. */
  count(worker: object): number {
    return this.#seen.get(worker)?.size ?? 0
  }

  forget(worker: object): void {
    this.#seen.delete(worker)
  }
}
