/** A queue in which taking the first item costs the same for every length. */
export class Fifo<Item extends object> {
  #items: (Item | undefined)[] = []
  #head = 0

  get size(): number {
    return this.#items.length - this.#head
  }

  get first(): Item | undefined {
    return this.#items[this.#head]
  }

  get last(): Item | undefined {
    return this.size === 0 ? undefined : this.#items.at(-1)
  }

  push(item: Item): void {
    this.#items.push(item)
  }

  shift(): Item | undefined {
    const item = this.#items[this.#head]
    if (this.size === 0) return undefined
    // Taken items are not kept in memory.
    this.#items[this.#head++] = undefined
    // Taken items are cut off once they are most of the list: each item is moved at most once for
    // that.
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** All items, in order; the queue is empty after it. */
  drain(): Item[] {
    const items = this.#items.slice(this.#head).filter((item) => item !== undefined)
    this.#items = []
    this.#head = 0
    return items
  }
}
