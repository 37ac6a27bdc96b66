import { createHash, type Hash } from 'node:crypto'

/** The bytes that went one way of an open file, with a digest as long as they go from start to end. */
export class Transfer {
  bytes = 0
  readonly #hash: Hash = createHash('sha256')
  #next = 0n
  #isSequential = true
  /** Writes that the target has not confirmed. */
  #unconfirmed = 0

  written(): void {
    this.#unconfirmed++
  }

  confirmed(): void {
    this.#unconfirmed--
  }

  /** The data that take() gets next belong at this offset. */
  at(offset: bigint): void {
    if (offset !== this.#next) this.#isSequential = false
  }

  take(data: Buffer): void {
    this.bytes += data.length
    if (!this.#isSequential) return
    this.#hash.update(data)
    this.#next += BigInt(data.length)
  }

  spoil(): void {
    this.#isSequential = false
  }

  /**
   * In hex, for a transfer from the first byte without a gap whose every write the target
   * confirmed. Only once.
   */
  digest(): string | undefined {
    const isWhole = this.#isSequential && this.#unconfirmed === 0 && this.bytes > 0
    return isWhole ? this.#hash.digest('hex') : undefined
  }
}
