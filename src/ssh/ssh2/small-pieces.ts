/** The two kinds of data: the stream itself, and stderr (RFC 4254 section 5.2). */
type PieceKind = 0 | 1

const roomBytesMin = 1024

/**
 * Small pieces of two kinds that wait, in their order, as one run of bytes for each change of the kind. A
 * piece costs its bytes, and a change eight more: a program may write single bytes to both streams.
 */
export class SmallPieces {
  #memory = Buffer.alloc(0)
  #from = 0
  #to = 0
  /** Twice the length of each run, and its kind; from the first that is not taken. */
  #runs: number[] = []
  #first = 0

  get bytes(): number {
    return this.#to - this.#from
  }

  get runs(): number {
    return this.#runs.length - this.#first
  }

  add(chunk: Buffer, kind: PieceKind): void {
    if (this.#to + chunk.length > this.#memory.length) this.#grow(chunk.length)
    this.#memory.set(chunk, this.#to)
    this.#to += chunk.length
    const last = this.runs === 0 ? undefined : this.#runs.at(-1)
    if (last === undefined || (last & 1) !== kind) this.#runs.push(chunk.length * 2 + kind)
    else this.#runs[this.#runs.length - 1] = last + chunk.length * 2
  }

  /** The first run; undefined when none waits. */
  take(): { readonly chunk: Buffer; readonly kind: PieceKind } | undefined {
    const run = this.#runs[this.#first]
    if (run === undefined) return undefined
    this.#first++
    if (this.#first > 1024 && this.#first * 2 > this.#runs.length) {
      this.#runs = this.#runs.slice(this.#first)
      this.#first = 0
    }
    const chunk = this.#memory.subarray(this.#from, this.#from + Math.floor(run / 2))
    this.#from += chunk.length
    return { chunk, kind: (run & 1) === 0 ? 0 : 1 }
  }

  /** Always new memory: taken runs still look into the old one. */
  #grow(more: number): void {
    const wanted = this.bytes + more
    const memory = Buffer.allocUnsafeSlow(wanted + Math.max(roomBytesMin, wanted >> 2))
    this.#memory.copy(memory, 0, this.#from, this.#to)
    this.#to -= this.#from
    this.#from = 0
    this.#memory = memory
  }
}
