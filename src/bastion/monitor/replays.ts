import { createHmac, createSecretKey, randomBytes } from 'node:crypto'

/**
 * The connections on which somebody has logged in, by what their keys signed of them. A signature is
 * good for one connection: whoever took over a worker cannot use those that passed through it again,
 * through no other worker either. Some 40 bytes each, as long as this process lives.
 */
export class Replays {
  readonly #key = createSecretKey(randomBytes(32))
  /** Of 48 bits: a login is taken for another's once in millions of millions. */
  readonly #seen = new Set<number>()

  /** False when a login with this exchange hash was accepted before, by whatever worker. */
  take(exchangeHash: Buffer): boolean {
    const name = createHmac('sha256', this.#key).update(exchangeHash).digest().readUIntBE(0, 6)
    if (this.#seen.has(name)) return false
    this.#seen.add(name)
    return true
  }
}
