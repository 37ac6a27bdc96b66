import { sourceOf } from '../../address.ts'
import { AddressBlocks } from '../../address-blocks.ts'
import type { PenaltyLimits } from '../../config.ts'
import type { Departure } from '../../ssh/index.ts'

interface Debt {
  readonly until: number
  /** The penalty has reached the limit and is enforced until it has run out. */
  readonly isHeld: boolean
  /** The part of it that rests on the word of each worker. */
  readonly causedBy: ReadonlyMap<number, number>
}

/** How long a login speaks for the others of its address. */
const goodStandingMs = 3_600_000
/** An entry is some 400 bytes. */
const sourcesMax = 65_536

/**
 * Refuses addresses that connect again and again without a login, as OpenSSH does since 9.8. Each
 * such connection costs some seconds, which add up. From a certain sum on, all connections from the
 * address are refused until the penalty has passed.
 *
 * Many people may share an address. If one of them has logged in within the hour, refused and
 * silent connections of the others cost no penalty. Holding a connection open to the end, and
 * breaking the protocol, always cost one.
 *
 * How a connection ended is the word of its worker, and a worker may have been taken over. What it
 * caused is forgotten when it ends. An address with a login within the hour is refused only if other
 * workers say so too: what one worker says counts as much as what all others say, and no more.
 */
export class Penalties {
  readonly #limits: PenaltyLimits
  readonly #costs: Readonly<Record<Departure, number>>
  readonly #exempt: AddressBlocks
  readonly #now: () => number
  readonly #workers: number
  /** In the order of their last connection, the latest at the end. */
  readonly #debts = new Map<string, Debt>()
  /** The time of the last login from each address, in the same order. */
  readonly #logins = new Map<string, number>()

  /** Where only one worker serves, its own word must do. */
  constructor(limits: PenaltyLimits, now: () => number = () => performance.now(), workers = 1) {
    this.#limits = limits
    this.#workers = workers
    this.#now = now
    this.#costs = {
      silent: limits.silentMs,
      refused: limits.refusedMs,
      late: limits.lateMs,
      invalid: limits.invalidMs,
    }
    this.#exempt = new AddressBlocks(limits.exempt ?? [])
  }

  /** How many addresses are remembered. */
  get size(): number {
    return this.#debts.size
  }

  isHeld(address: string): boolean {
    const debt = this.#debts.get(sourceOf(address))
    return debt?.isHeld === true && debt.until > this.#now()
  }

  /**
   * A connection from there ended without a login, as its worker says. True if the address is refused from
   * now on.
   */
  left(address: string, how: Departure, worker = 0): boolean {
    const cost = this.#costs[how]
    if (cost === 0 || this.#exempt.has(address)) return false
    const source = sourceOf(address)
    const now = this.#now()
    const isGood = now - (this.#logins.get(source) ?? -Infinity) < goodStandingMs
    if (isGood && (how === 'silent' || how === 'refused')) return false
    const before = this.#debts.get(source)
    const open = before !== undefined && before.until > now ? before : undefined
    const { minMs, maxMs } = this.#limits
    const until = Math.min((open?.until ?? now) + cost, now + maxMs)
    const causedBy = new Map(open?.causedBy)
    causedBy.set(worker, Math.min((causedBy.get(worker) ?? 0) + cost, maxMs))
    const isDoubted = isGood && this.#workers > 1
    const believed = isDoubted ? believable(causedBy) : sum(causedBy)
    const wasHeld = open?.isHeld === true
    const isHeld = wasHeld || Math.min(until - now, believed) >= minMs
    remember(this.#debts, source, { until, isHeld, causedBy })
    return isHeld && !wasHeld
  }

  /** The worker has ended: what only it has said holds no address off. */
  forget(worker: number): void {
    const now = this.#now()
    for (const [source, { until, isHeld, causedBy }] of this.#debts) {
      if (!causedBy.has(worker)) continue
      const others = new Map(causedBy)
      others.delete(worker)
      const rest = sum(others)
      const debt = { until: Math.min(until, now + rest), causedBy: others }
      if (debt.until <= now) this.#debts.delete(source)
      else this.#debts.set(source, { ...debt, isHeld: isHeld && rest >= this.#limits.minMs })
    }
  }

  /** A user from there has logged in. */
  loggedIn(address: string): void {
    remember(this.#logins, sourceOf(address), this.#now())
  }
}

/** No worker counts for more than all others. */
function believable(causedBy: ReadonlyMap<number, number>): number {
  const all = sum(causedBy)
  const most = Math.max(...causedBy.values())
  return all - most + Math.min(most, all - most)
}

function sum(parts: ReadonlyMap<number, number>): number {
  return [...parts.values()].reduce((all, part) => all + part, 0)
}

/** Makes room by forgetting the oldest entry, which is never a flooding address. */
function remember<Value>(sources: Map<string, Value>, source: string, value: Value): void {
  sources.delete(source)
  sources.set(source, value)
  for (const oldest of sources.keys()) {
    if (sources.size <= sourcesMax) return
    sources.delete(oldest)
  }
}
