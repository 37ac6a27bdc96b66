/** How much the other side may send before we give back: OpenSSH's own figure. */
export const receiveWindowBytes = 2 * 1024 * 1024
/** 160 MB/s at a round trip of 50 ms; and what a receiver that stops taking can cost at the worst. */
const windowBytesMax = 8 * 1024 * 1024
/** What a window has at least: enough for a command, and for a terminal. */
const windowBytesMin = 64 * 1024
/** Smaller credits are kept back, so that they do not cost a packet each. */
const creditBytesMin = 512 * 1024

/** What windows may grow by in all: of a connection, or of the process. */
export class WindowBudget {
  #left: number
  readonly #above: WindowBudget | undefined

  /** With one above it, which has to agree. */
  constructor(bytes: number, above?: WindowBudget) {
    this.#left = bytes
    this.#above = above
  }

  take(bytes: number): boolean {
    if (bytes > this.#left || this.#above?.take(bytes) === false) return false
    this.#left -= bytes
    return true
  }

  giveBack(bytes: number): void {
    this.#left += bytes
    this.#above?.giveBack(bytes)
  }
}

/**
 * What windows have before they grow, in all: of a connection, or of the process. A window gets a part of
 * what is left. So the first ones get all that they want, later ones less, and none of them nothing: who
 * opens many channels and takes nothing from them makes us hold no more than this, and a little for each.
 */
export class WindowShares {
  #left: number
  readonly #parts: number
  readonly #above: WindowShares | undefined

  /** A window gets one of so many parts. With shares above it, which bound it as well. */
  constructor(bytes: number, parts: number, above?: WindowShares) {
    this.#left = bytes
    this.#parts = parts
    this.#above = above
  }

  /** What one window gets. Give it back when its channel has ended. */
  take(wanted: number, least = windowBytesMin): number {
    const bytes = Math.min(wanted, Math.max(least, this.#part()))
    this.giveBack(-bytes)
    return bytes
  }

  giveBack(bytes: number): void {
    this.#left += bytes
    this.#above?.giveBack(bytes)
  }

  #part(): number {
    const part = Math.max(0, Math.floor(this.#left / this.#parts))
    return this.#above === undefined ? part : Math.min(part, this.#above.#part())
  }
}

/**
 * What the other side of a channel may send. Whatever it has sent counts until it is consumed, so that
 * the size is what a receiver that takes nothing can make us hold.
 */
export class ReceiveWindow {
  readonly #budget: WindowBudget
  readonly #shares: WindowShares | undefined
  /** It has all that it gets before it grows. */
  #isWhole: boolean
  /** What there is without growth. */
  #base: number
  #size: number
  /** What the other side may still send. */
  #left: number
  /** What came and is not consumed. */
  #held = 0
  /** Taken from the budget. */
  #reserved = 0

  /** The shares, where there are some, have given it so many bytes, and get them back. */
  constructor(
    bytes: number,
    budget: WindowBudget,
    { isWhole, shares }: { isWhole?: boolean; shares?: WindowShares } = {},
  ) {
    this.#isWhole = isWhole ?? bytes >= receiveWindowBytes
    this.#shares = shares
    this.#base = bytes
    this.#size = bytes
    this.#left = bytes
    this.#budget = budget
  }

  get size(): number {
    return this.#size
  }

  get mayGrow(): boolean {
    return this.#isWhole && this.#size < windowBytesMax
  }

  /** So much came. False when it is more than was allowed. */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false
    this.#left -= bytes
    this.#held += bytes
    // Who does not keep up has no use for more. What was allowed cannot be taken back, but it is not
    // allowed again.
    if (this.#held > this.#size * 0.75) this.#size = this.#base
    return true
  }

  /** So much is held no longer. Gives the credit that is now due to the other side, or 0. */
  consumed(bytes: number): number {
    this.#held -= bytes
    const credit = this.#size - this.#left - this.#held
    const isDue = credit >= creditBytesMin || this.#left <= receiveWindowBytes / 4
    if (credit > 0 && isDue) this.#left += credit
    else this.#release()
    return credit > 0 && isDue ? credit : 0
  }

  /** Gives the other side more than it was given at first. Answers how much more. */
  widen(wanted: number): number {
    const bytes = this.#shares?.take(wanted, 0) ?? wanted
    this.#isWhole = true
    this.#base += bytes
    this.#size += bytes
    this.#left += bytes
    return bytes
  }

  /** Doubles, where there is room and the receiver keeps up: then what it is now is credit due. */
  grow(): boolean {
    if (!this.mayGrow || this.#held > this.#size / 4) return false
    const size = Math.min(this.#size * 2, windowBytesMax)
    const more = Math.max(0, size - this.#base - this.#reserved)
    if (!this.#budget.take(more)) return false
    this.#size = size
    this.#reserved += more
    return true
  }

  end(): void {
    this.#budget.giveBack(this.#reserved)
    this.#reserved = 0
    this.#shares?.giveBack(this.#base)
    this.#base = 0
  }

  #release(): void {
    const needed = Math.max(this.#left + this.#held, this.#size) - this.#base
    if (needed >= this.#reserved) return
    this.#budget.giveBack(this.#reserved - needed)
    this.#reserved = needed
  }
}
