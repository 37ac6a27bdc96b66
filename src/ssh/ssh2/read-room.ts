import { Shares } from '../../shares.ts'

/** A piece of memory that a connection has at hand: it reads into it, or keeps it for later reads. */
export interface AtHand {
  /** Who counts for it. */
  readonly user: string
  /** When it was last of use. */
  usedMs: number
  /** The connection does without it. False where that cannot be now. */
  giveUp(): boolean
}

/**
 * The pieces that all connections of the process have at hand. A piece is there to make reads fast, so
 * there is a fixed number: who gets none reads into little memory, and copies. The user with the most makes
 * room for others, and a piece that is of no use for some seconds is given up.
 */
export class ReadRoom {
  readonly #max: number
  readonly #idleMs: number
  readonly #pieces = new Set<AtHand>()
  readonly #shares = new Shares<AtHand>()
  /** One timer for all, while there are pieces. */
  #sweeps: NodeJS.Timeout | undefined

  constructor(max: number, idleMs: number) {
    this.#max = max
    this.#idleMs = idleMs
  }

  get size(): number {
    return this.#pieces.size
  }

  /** Takes another piece away if need be. False when there is no room for one of this user. */
  makeRoomFor(user: string): boolean {
    if (this.#pieces.size < this.#max) return true
    return this.#shares.toMakeRoomFor(user)?.key.giveUp() === true
  }

  /** False when there is no room for it. */
  add(piece: AtHand): boolean {
    if (this.#pieces.size >= this.#max) return false
    piece.usedMs = performance.now()
    this.#pieces.add(piece)
    this.#shares.add(piece.user, piece)
    this.#sweeps ??= setInterval(() => this.#sweep(), this.#idleMs / 2).unref()
    return true
  }

  delete(piece: AtHand): void {
    this.#pieces.delete(piece)
    this.#shares.delete(piece.user, piece)
    if (this.#pieces.size > 0) return
    clearInterval(this.#sweeps)
    this.#sweeps = undefined
  }

  #sweep(): void {
    const before = performance.now() - this.#idleMs
    for (const piece of [...this.#pieces]) if (piece.usedMs < before) piece.giveUp()
  }
}
