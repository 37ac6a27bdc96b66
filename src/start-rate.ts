/** Limits how many connections a source starts in a second. */
export class StartRate {
  readonly #perSecondMax: number
  readonly #now: () => number
  /** Starts of the current second. */
  #starts = new Map<string, number>()
  #second = 0

  constructor(perSecondMax: number, now: () => number = () => performance.now()) {
    this.#perSecondMax = perSecondMax
    this.#now = now
  }

  /** One more start; false if it is one too many. */
  start(source: string): boolean {
    const second = Math.floor(this.#now() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#starts = new Map()
    }
    const starts = (this.#starts.get(source) ?? 0) + 1
    this.#starts.set(source, starts)
    return starts <= this.#perSecondMax
  }
}
