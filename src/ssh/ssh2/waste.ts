/** Bytes of memory that are kept for nothing: of a connection, or of the process. */
export class Waste {
  #bytes = 0
  readonly #max: number
  readonly #above: Waste | undefined

  constructor(max: number, above?: Waste) {
    this.#max = max
    this.#above = above
  }

  get bytes(): number {
    return this.#bytes
  }

  get isTooMuch(): boolean {
    return this.#bytes > this.#max || this.#above?.isTooMuch === true
  }

  add(bytes: number): void {
    this.#bytes += bytes
    this.#above?.add(bytes)
  }
}

/** The part of one piece of memory. */
export class WasteShare {
  readonly #of: Waste
  #bytes = 0

  constructor(of: Waste) {
    this.#of = of
  }

  set(bytes: number): void {
    this.#of.add(bytes - this.#bytes)
    this.#bytes = bytes
  }

  /** Until the collector has taken this memory: not everybody lets go of what they forget. */
  endWith(memory: ArrayBufferLike): void {
    collected.register(memory, this)
  }
}

const collected = new FinalizationRegistry<WasteShare>((share) => share.set(0))
