/** A queue whose first item costs the same to take from a long one as from a short one. */
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
    // What was taken is not held on to.
    this.#items[this.#head++] = undefined
    // What was taken is cut off once it is most of the list: each item is moved at most once for that.
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Everything, in order; nothing is left. */
  drain(): Item[] {
    const items = this.#items.slice(this.#head).filter((item) => item !== undefined)
    this.#items = []
    this.#head = 0
    return items
  }
}
