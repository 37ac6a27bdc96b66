/** Where integers of 32 bits go wrong. */
export const boundaries = [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 1]

/** Where bytes do, those among them that say yes or no. */
export const byteBoundaries = [0, 1, 127, 128, 255]

/** The same numbers for the same seed: what found something finds it again. */
export class Random {
  #state: number

  /** The salt makes the numbers of each case its own, whatever was run before it. */
  constructor(seed: number, salt = 0) {
    this.#state = (seed ^ Math.imul(salt + 1, 0x9e3779b1)) >>> 0
  }

  /** Below the bound: mulberry32. */
  int(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound)
  }

  chance(part: number): boolean {
    return this.int(1_000_000) < part * 1_000_000
  }

  pick<T>(from: readonly T[]): T {
    const picked = from[this.int(from.length)]
    if (picked === undefined) throw new Error('nothing to pick from')
    return picked
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.int(256)))
  }

  shuffle<T>(from: readonly T[]): T[] {
    const left = [...from]
    return from.flatMap(() => left.splice(this.int(left.length), 1))
  }
}
