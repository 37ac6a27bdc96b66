/**
 * What many owners keep in one place that has a limit: whose entry makes room for another one. An owner's
 * rush costs that owner: it takes nothing from those who have less.
 */
export class Shares<Key, Owner extends string = string> {
  /** Of each owner, the oldest first. */
  readonly #byOwner = new Map<Owner, Set<Key>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  add(owner: Owner, key: Key): void {
    const keys = this.#byOwner.get(owner) ?? new Set()
    if (!keys.has(key)) this.#size++
    this.#byOwner.set(owner, keys.add(key))
  }

  delete(owner: Owner, key: Key): void {
    const keys = this.#byOwner.get(owner)
    if (keys?.delete(key) !== true) return
    this.#size--
    if (keys.size === 0) this.#byOwner.delete(owner)
  }

  clear(): void {
    this.#byOwner.clear()
    this.#size = 0
  }

  /**
   * The oldest entry of the owner with the most, which is to make room for one of `owner`. Undefined when
   * nobody has at least two more than that: then the one who asks is refused.
   */
  toMakeRoomFor(owner: Owner): { readonly owner: Owner; readonly key: Key } | undefined {
    let most: readonly [Owner, Set<Key>] | undefined
    for (const one of this.#byOwner)
      if (most === undefined || one[1].size > most[1].size) most = one
    const own = this.#byOwner.get(owner)?.size ?? 0
    if (most === undefined || most[1].size < own + 2) return undefined
    for (const key of most[1]) return { owner: most[0], key }
    return undefined
  }
}
