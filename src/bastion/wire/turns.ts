/** Lets so many through at a time: the others in the order in which they came, each owner's in turn. */
export class Turns {
  /** By owner, in the order in which their turn is. Nobody here waits for nothing. */
  readonly #waiting = new Map<object, (() => void)[]>()
  #free: number

  constructor(atOnce: number) {
    this.#free = atOnce
  }

  /**
   * Resolves when it is our turn, which ends when the answer is disposed of. One owner that wants a
   * thousand turns holds up the others by one.
   */
  async take(owner: object = this): Promise<Disposable> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#wait(owner, resolve))
    return { [Symbol.dispose]: () => this.#pass() }
  }

  #wait(owner: object, called: () => void): void {
    const line = this.#waiting.get(owner)
    if (line === undefined) this.#waiting.set(owner, [called])
    else line.push(called)
  }

  #pass(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#free++
      return
    }
    const [owner, line] = next
    const called = line.shift()
    // To the end of the row.
    this.#waiting.delete(owner)
    if (line.length > 0) this.#waiting.set(owner, line)
    called?.()
  }
}
