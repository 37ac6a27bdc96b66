import { BlockList, isIPv6 } from 'node:net'
import { sourceOf } from '../../address.ts'
import type { PenaltyLimits } from '../../config.ts'
import type { Departure } from '../../ssh/index.ts'

interface Debt {
  readonly until: number
  /** The penalty has reached the limit and is enforced until it has run out. */
  readonly isHeld: boolean
}

/** How long a login speaks for the others of its address. */
const goodStandingMs = 3_600_000
/** An entry is some 200 bytes. */
const sourcesMax = 65_536

/**
 * Refuses addresses that connect again and again without a login, as OpenSSH does since 9.8. Each
 * such connection costs some seconds, which add up. From a certain sum on, all connections from the
 * address are refused until the penalty has passed.
 *
 * Many people may share an address. If one of them has logged in within the hour, refused and
 * silent connections of the others cost no penalty. Holding a connection open to the end, and
 * breaking the protocol, always cost one.
 */
export class Penalties {
  readonly #limits: PenaltyLimits
  readonly #costs: Readonly<Record<Departure, number>>
  readonly #exempt: BlockList
  readonly #now: () => number
  /** In the order of their last connection, the latest at the end. */
  readonly #debts = new Map<string, Debt>()
  /** The time of the last login from each address, in the same order. */
  readonly #logins = new Map<string, number>()

  constructor(limits: PenaltyLimits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
    this.#costs = {
      silent: limits.silentMs,
      refused: limits.refusedMs,
      late: limits.lateMs,
      invalid: limits.invalidMs,
    }
    this.#exempt = blockList(limits.exempt ?? [])
  }

  /** How many addresses are remembered. */
  get size(): number {
    return this.#debts.size
  }

  isHeld(address: string): boolean {
    const debt = this.#debts.get(sourceOf(address))
    return debt?.isHeld === true && debt.until > this.#now()
  }

  /** A connection from there ended without a login. True if the address is refused from now on. */
  left(address: string, how: Departure): boolean {
    const cost = this.#costs[how]
    if (cost === 0 || this.#isExempt(address)) return false
    const source = sourceOf(address)
    const now = this.#now()
    const isMistake = how === 'silent' || how === 'refused'
    if (isMistake && now - (this.#logins.get(source) ?? -Infinity) < goodStandingMs) return false
    const before = this.#debts.get(source)
    const isOpen = before !== undefined && before.until > now
    const { minMs, maxMs } = this.#limits
    const until = Math.min((isOpen ? before.until : now) + cost, now + maxMs)
    const wasHeld = isOpen && before.isHeld
    const isHeld = wasHeld || until - now >= minMs
    remember(this.#debts, source, { until, isHeld })
    return isHeld && !wasHeld
  }

  /** A user from there has logged in. */
  loggedIn(address: string): void {
    remember(this.#logins, sourceOf(address), this.#now())
  }

  #isExempt(address: string): boolean {
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    return this.#exempt.check(address.split('%')[0] ?? address, family)
  }
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

function blockList(blocks: readonly string[]): BlockList {
  const list = new BlockList()
  for (const block of blocks) {
    const [address = '', prefix] = block.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  return list
}
