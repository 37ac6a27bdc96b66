/** The party that a turn is for: its tenant, and its user there (before a login, its source address). */
export interface TurnOwner {
  readonly tenant: string
  readonly user: string
}

/** A queue in which each owner has its own line, and the lines are served in turn. */
export class FairQueue<Item> {
  /** By tenant and then by user, each in the order in which they are served. Empty lines are removed. */
  readonly #lines = new Map<string, Map<string, Item[]>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  add({ tenant, user }: TurnOwner, item: Item): void {
    const users = this.#lines.get(tenant) ?? new Map<string, Item[]>()
    const line = users.get(user) ?? []
    line.push(item)
    users.set(user, line)
    this.#lines.set(tenant, users)
    this.#size++
  }

  sizeOf({ tenant, user }: TurnOwner): number {
    return this.#lines.get(tenant)?.get(user)?.length ?? 0
  }

  /** Takes the next item of the first tenant that may have one; that tenant and user go to the back. */
  take(mayHave: (tenant: string) => boolean): Item | undefined {
    for (const [tenant, users] of this.#lines) {
      if (!mayHave(tenant)) continue
      this.#lines.delete(tenant)
      for (const [user, line] of users) {
        users.delete(user)
        const item = line.shift()
        if (line.length > 0) users.set(user, line)
        if (users.size > 0) this.#lines.set(tenant, users)
        this.#size--
        return item
      }
    }
    return undefined
  }

  remove({ tenant, user }: TurnOwner, item: Item): void {
    const users = this.#lines.get(tenant)
    const line = users?.get(user)
    const at = line?.indexOf(item) ?? -1
    if (users === undefined || line === undefined || at === -1) return
    line.splice(at, 1)
    this.#size--
    if (line.length === 0) users.delete(user)
    if (users.size === 0) this.#lines.delete(tenant)
  }
}

/** Owners without a name share one line. */
const unnamed: TurnOwner = { tenant: '', user: '' }

/**
 * Lets a number of jobs run at the same time. The others wait: tenants are served in turn, and the
 * users of a tenant too. An owner that asks for a thousand turns delays the others by one.
 *
 * A turn may last long, because its owner's target or log is slow. So a tenant that holds many turns
 * does not get the last third: it takes one of those only while it holds fewer than are free.
 */
export class Turns {
  readonly #atOnce: number
  readonly #waiting = new FairQueue<() => void>()
  readonly #held = new Map<string, number>()
  #free: number

  constructor(atOnce: number) {
    this.#atOnce = atOnce
    this.#free = atOnce
  }

  /** Owners that wait for a turn. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** The same of one owner. */
  waitingOf(owner: TurnOwner): number {
    return this.#waiting.sizeOf(owner)
  }

  /**
   * Resolves when the turn begins. The turn ends when the result is disposed of; a second disposal
   * changes nothing. Rejects with the reason of the signal if it is aborted first.
   */
  async take(owner: TurnOwner = unnamed, signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted()
    const begun = Promise.withResolvers<void>()
    const begin = () => begun.resolve()
    const leave = () => {
      this.#waiting.remove(owner, begin)
      begun.reject(signal?.reason)
    }
    this.#waiting.add(owner, begin)
    this.#serve()
    signal?.addEventListener('abort', leave)
    try {
      await begun.promise
    } finally {
      signal?.removeEventListener('abort', leave)
    }
    let isOver = false
    return {
      [Symbol.dispose]: () => {
        if (isOver) return
        isOver = true
        this.#end(owner.tenant)
      },
    }
  }

  #serve(): void {
    while (this.#free > 0) {
      let served = ''
      const begin = this.#waiting.take((tenant) => {
        served = tenant
        return this.#mayHold(tenant)
      })
      if (begin === undefined) return
      this.#free--
      this.#held.set(served, (this.#held.get(served) ?? 0) + 1)
      begin()
    }
  }

  /** Work without an owner does not compete with others. */
  #mayHold(tenant: string): boolean {
    if (tenant === unnamed.tenant) return true
    return this.#free > this.#atOnce / 3 || (this.#held.get(tenant) ?? 0) < this.#free
  }

  #end(tenant: string): void {
    this.#free++
    const left = (this.#held.get(tenant) ?? 1) - 1
    if (left === 0) this.#held.delete(tenant)
    else this.#held.set(tenant, left)
    this.#serve()
  }
}
