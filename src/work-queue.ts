/** Whose work it is: the groups around its owner, the widest first, and the owner last. */
export type WorkOwner = readonly string[]

/** A group or owner that has rested may do so much work before the others have their turn again. */
const creditMs = 4
/** Groups that may be known before the first look at who can be forgotten. */
const knownMin = 256

/** A group with its members, or an owner with what waits. */
class Line<Item> {
  readonly items: Item[] = []
  readonly members = new Map<string, Line<Item>>()
  /** Those with items, the one that waits longest first. */
  readonly waiting = new Set<Line<Item>>()
  /** On the clock of the group around it. */
  spentMs: number
  /** What the member had done that was served last; it never goes back. */
  #clockMs = 0
  #isForLongest = true
  #knownMax = knownMin

  constructor(spentMs: number) {
    this.spentMs = spentMs
  }

  get hasItems(): boolean {
    return this.items.length > 0 || this.waiting.size > 0
  }

  member(name: string): Line<Item> {
    const restedMs = this.#clockMs - creditMs
    const line = this.members.get(name) ?? new Line(restedMs)
    this.members.set(name, line)
    // Whoever waits already keeps its place.
    if (!line.hasItems) line.spentMs = Math.max(line.spentMs, restedMs)
    return line
  }

  /** Of those that wait, in turn: the member that has done the least, and the one that waits longest. */
  next(): Line<Item> | undefined {
    this.#isForLongest = !this.#isForLongest
    let next: Line<Item> | undefined
    for (const line of this.waiting) {
      if (next === undefined || line.spentMs < next.spentMs) next = line
      if (this.#isForLongest) break
    }
    if (next === undefined) return undefined
    if (!this.#isForLongest) this.#clockMs = Math.max(this.#clockMs, next.spentMs)
    this.waiting.delete(next)
    this.waiting.add(next)
    return next
  }

  charge(line: Line<Item>, workMs: number): void {
    line.spentMs += workMs
    // Also with newcomers only, whoever has rested is forgotten some time.
    const atWork = this.waiting.size + (this.waiting.has(line) ? 0 : 1)
    this.#clockMs += workMs / atWork / 4
    if (this.members.size > this.#knownMax) this.#forgetRested()
  }

  /** Whoever has rested counts like one who was never here. */
  #forgetRested(): void {
    for (const [name, line] of this.members) {
      if (!line.hasItems && line.spentMs <= this.#clockMs - creditMs) this.members.delete(name)
    }
    this.#knownMax = Math.max(knownMin, this.members.size * 2)
  }
}

/**
 * A queue for work that costs differently much. Of the groups that wait, the one comes first for which the
 * least work was done; and so among its members. A group that does less than its share therefore does not
 * wait for those that ask without end, however many of them there are. Every second turn is for the group
 * that waits longest: nobody waits for newcomers without end.
 *
 * Time without work is no credit: whoever comes after an hour is at most `creditMs` ahead.
 */
export class WorkQueue<Item> {
  readonly #root = new Line<{ readonly owner: WorkOwner; readonly item: Item }>(0)

  add(owner: WorkOwner, item: Item): void {
    let line = this.#root
    for (const name of owner) {
      const member = line.member(name)
      line.waiting.add(member)
      line = member
    }
    line.items.push({ owner, item })
  }

  /** Takes the next item. Charge its work when it is done. */
  take(): { readonly owner: WorkOwner; readonly item: Item } | undefined {
    const path = [this.#root]
    for (let line = this.#root.next(); line !== undefined; line = line.next()) path.push(line)
    const taken = path.at(-1)?.items.shift()
    this.#leave(path)
    return taken
  }

  remove(owner: WorkOwner, item: Item): void {
    const path = this.#pathOf(owner)
    const items = path.at(-1)?.items ?? []
    const at = items.findIndex((one) => one.item === item)
    if (at === -1) return
    items.splice(at, 1)
    this.#leave(path)
  }

  /** Counts work that was done for the owner. */
  charge(owner: WorkOwner, workMs: number): void {
    let line = this.#root
    for (const member of this.#pathOf(owner).slice(1)) {
      line.charge(member, workMs)
      line = member
    }
  }

  #pathOf(owner: WorkOwner) {
    const path = [this.#root]
    for (const name of owner) path.push((path.at(-1) ?? this.#root).member(name))
    return path
  }

  #leave(path: readonly Line<{ readonly owner: WorkOwner; readonly item: Item }>[]): void {
    for (const [at, line] of [...path.entries()].reverse()) {
      if (!line.hasItems) path[at - 1]?.waiting.delete(line)
    }
  }
}
