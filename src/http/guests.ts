import { networksOf, sourceOf } from '../address.ts'
import type { WorkOwner } from '../work-queue.ts'

/** Addresses that are remembered: those of people in offices and at home. */
const addressesMax = 4096
const rememberMs = 3_600_000

/**
 * Where people who have signed in come from. Each of their new connections is a stranger's until its cookie
 * is known, but it does not wait among all strangers.
 */
export class Guests {
  readonly #isExempt: (address: string) => boolean
  /** Until when, the oldest first. */
  readonly #known = new Map<string, number>()

  /** Addresses that the operator trusts are known. */
  constructor(isExempt: (address: string) => boolean) {
    this.#isExempt = isExempt
  }

  /** Somebody at that address was recognized. */
  know(address: string): void {
    const source = sourceOf(address)
    this.#known.delete(source)
    this.#known.set(source, performance.now() + rememberMs)
    if (this.#known.size <= addressesMax) return
    const [oldest = ''] = this.#known.keys()
    this.#known.delete(oldest)
  }

  /** Whose work a new connection is. */
  ownerAt(address: string): WorkOwner {
    const source = sourceOf(address)
    const isKnown = (this.#known.get(source) ?? 0) > performance.now() || this.#isExempt(address)
    return [isKnown ? 'guests' : 'strangers', ...networksOf(source)]
  }
}
