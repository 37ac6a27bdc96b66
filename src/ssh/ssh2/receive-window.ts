/** How much the other side may send before we give back: OpenSSH's own figure. */
export const receiveWindowBytes = 2 * 1024 * 1024
/** 160 MB/s at a round trip of 50 ms; also the largest cost of a receiver that stops reading. */
const windowBytesMax = 8 * 1024 * 1024
/** What a window has at least: enough for a command, and for a terminal. */
const windowBytesMin = 64 * 1024
/** Smaller credits are kept back, so that they do not cost a packet each. */
const creditBytesMin = 512 * 1024

/** The total growth allowed for windows: of a connection, or of the process. */
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
 * The sum of the windows before they grow: of a connection, or of the process. Each window gets a part of
 * the rest. So the first windows get all that they want, later ones less, but never zero: a peer that opens
 * many channels and reads from none of them makes us hold no more than this, and a little for each channel.
 */
export class WindowShares {
  #left: number
  readonly #parts: number
  readonly #above: WindowShares | undefined

  /** A window gets one of this many parts. Shares above bound it too. */
  constructor(bytes: number, parts: number, above?: WindowShares) {
    this.#left = bytes
    this.#parts = parts
    this.#above = above
  }

  /** The size of one window, in bytes. Give it back when its channel has ended. */
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
 * The number of bytes that the other side of a channel may send. Sent bytes count until they are
 * consumed, so the size limits the memory for a receiver that does not read.
 */
export class ReceiveWindow {
  readonly #budget: WindowBudget
  readonly #shares: WindowShares | undefined
  /** It has its full size before growth. */
  #isWhole: boolean
  /** The size without growth. */
  #base: number
  #size: number
  /** The bytes that the other side may still send. */
  #left: number
  /** Bytes that came and are not consumed. */
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
    // A receiver that does not keep up has no use for more. Credit cannot be taken back, but it is
    // not given again.
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

  /**
   * Doubles if there is room and the receiver keeps up: then the added size is credit that is due.
   */
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
