/** Passes items on in their order, each once it is ready. */
export class InOrder {
  readonly #waiting: { isReady: boolean; readonly act: () => void }[] = []

  get size(): number {
    return this.#waiting.length
  }

  /** Answers a function that says that it is ready. */
  add(act: () => void): () => void {
    const one = { isReady: false, act }
    this.#waiting.push(one)
    return () => {
      one.isReady = true
      this.#settle()
    }
  }

  /** Waiting items are dropped. */
  clear(): void {
    this.#waiting.length = 0
  }

  #settle(): void {
    while (this.#waiting[0]?.isReady) this.#waiting.shift()?.act()
  }
}
