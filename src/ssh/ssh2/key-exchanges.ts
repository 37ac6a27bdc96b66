/** When keys are exchanged anew, and how long that may take. */
export interface RekeyLimits {
  /** Of all that went either way: a gigabyte, as RFC 4253 section 9 has it. */
  readonly bytes: number
  /** An hour, as it says too. */
  readonly ms: number
  /** No other data moves meanwhile: a peer that does not finish is cut off after this time. */
  readonly stallMs: number
}

export const rekeyLimits: RekeyLimits = { bytes: 2 ** 30, ms: 3_600_000, stallMs: 20_000 }

/**
 * Counted for each packet in addition to its payload. This limits packets to 2^25 between
 * exchanges; RFC 4344 section 3.1 allows at most 2^31.
 */
const packetBytes = 32
/**
 * An exchange costs us a signature and more, so the other side gets as many as its traffic
 * justifies, and a few a second besides. Further ones wait.
 */
const exchangesAtOnce = 32
const exchangesPerSecond = 20
const exchangeEveryBytes = 512 * 1024

interface KeyExchangesOptions {
  readonly limits: RekeyLimits
  /** Starts an exchange, unless one is underway. */
  readonly start: () => void
  /** One takes too long. */
  readonly stalled: () => void
  /** The other side has had too many: it is to be heard again after so long. */
  readonly tooMany: (waitMs: number) => void
}

/** The exchanges of keys on one connection, from its login on. */
export class KeyExchanges {
  readonly #options: KeyExchangesOptions
  #bytes = 0
  #isStarted = false
  #due: NodeJS.Timeout | undefined
  #patience: NodeJS.Timeout | undefined
  #credit = exchangesAtOnce
  #creditedAt = performance.now()

  constructor(options: KeyExchangesOptions) {
    this.#options = options
  }

  /** The login is done: before, keys are exchanged once. */
  start(): void {
    this.#isStarted = true
    this.#wait()
  }

  /** A packet of so many bytes has come, or gone. */
  moved(bytes: number): void {
    this.#bytes += bytes + packetBytes
    if (this.#isStarted && this.#bytes >= this.#options.limits.bytes) this.#options.start()
  }

  /** Either side has started one. */
  begun(): void {
    // A login has its own time limit.
    if (!this.#isStarted) return
    clearTimeout(this.#patience)
    this.#patience = setTimeout(this.#options.stalled, this.#options.limits.stallMs).unref()
  }

  finished(): void {
    clearTimeout(this.#patience)
    const now = performance.now()
    const earned =
      ((now - this.#creditedAt) / 1000) * exchangesPerSecond + this.#bytes / exchangeEveryBytes
    this.#credit = Math.min(this.#credit + earned, exchangesAtOnce) - 1
    this.#creditedAt = now
    this.#bytes = 0
    if (this.#isStarted) this.#wait()
    if (this.#credit < 0) this.#options.tooMany((-this.#credit / exchangesPerSecond) * 1000)
  }

  end(): void {
    this.#isStarted = false
    clearTimeout(this.#due)
    clearTimeout(this.#patience)
  }

  #wait(): void {
    clearTimeout(this.#due)
    this.#due = setTimeout(this.#options.start, this.#options.limits.ms).unref()
  }
}
