/** The last bytes of a stream, however long it is. */
export class Tail {
  readonly #max: number
  #ring: Buffer | undefined
  /** Bytes that ever passed. */
  #total = 0

  constructor(max: number) {
    this.#max = max
  }

  get total(): number {
    return this.#total
  }

  /** Copies: the owner may reuse the chunk after the call. */
  push(chunk: Buffer): void {
    this.#total += chunk.length
    if (this.#max === 0) return
    this.#ring ??= Buffer.allocUnsafe(this.#max)
    const kept = chunk.length > this.#max ? chunk.subarray(chunk.length - this.#max) : chunk
    const at = (this.#total - kept.length) % this.#max
    const before = kept.copy(this.#ring, at)
    kept.copy(this.#ring, 0, before)
  }

  bytes(): Buffer {
    const ring = this.#ring
    if (ring === undefined) return Buffer.alloc(0)
    if (this.#total <= this.#max) return ring.subarray(0, this.#total)
    const at = this.#total % this.#max
    return Buffer.concat([ring.subarray(at), ring.subarray(0, at)])
  }
}
