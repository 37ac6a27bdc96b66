import { networksOf, sourceOf } from '../address.ts'
import type { TurnOwner } from '../turns.ts'
import type { WorkOwner } from '../work-queue.ts'

/** Addresses that are remembered: those of people in offices and at home. */
const addressesMax = 4096
/** Of one person: whoever has a cookie could show it from any number of addresses. */
const addressesOfOneMax = 32
const rememberMs = 3_600_000

/**
 * Where people who have signed in come from. Each of their new connections is a stranger's until its cookie
 * is known, but it does not wait among all strangers. All addresses of a person wait as one.
 */
export class Guests {
  readonly #isExempt: (address: string) => boolean
  /** The oldest first. */
  readonly #known = new Map<string, { readonly untilMs: number; readonly person: TurnOwner }>()
  /** The addresses of each person, the oldest first. */
  readonly #addresses = new Map<string, Set<string>>()

  /** Addresses that the operator trusts are known. */
  constructor(isExempt: (address: string) => boolean) {
    this.#isExempt = isExempt
  }

  /** That person was recognized at the address. */
  know(address: string, person: TurnOwner): void {
    const source = sourceOf(address)
    this.#forget(source)
    this.#known.set(source, { untilMs: performance.now() + rememberMs, person })
    const addresses = this.#addresses.get(nameOf(person)) ?? new Set()
    this.#addresses.set(nameOf(person), addresses.add(source))
    if (addresses.size > addressesOfOneMax) this.#forget(first(addresses))
    if (this.#known.size > addressesMax) this.#forget(first(this.#known.keys()))
  }

  /** Whose work a new connection is. */
  ownerAt(address: string): WorkOwner {
    const source = sourceOf(address)
    const guest = this.#guestAt(source)
    if (guest !== undefined) return ['guests', guest.tenant, guest.user]
    return [this.#isExempt(address) ? 'guests' : 'strangers', ...networksOf(source)]
  }

  /** Whose look-up of a cookie or a link it is: tenants do not wait for one another, nor for strangers. */
  lookUpOwnerAt(address: string): TurnOwner {
    const source = sourceOf(address)
    const guest = this.#guestAt(source)
    if (guest !== undefined) return { tenant: `guests of ${guest.tenant}`, user: guest.user }
    const [widest = source] = networksOf(source)
    return this.#isExempt(address)
      ? { tenant: 'exempt', user: source }
      : { tenant: 'strangers', user: widest }
  }

  #guestAt(source: string): TurnOwner | undefined {
    const guest = this.#known.get(source)
    return guest !== undefined && guest.untilMs > performance.now() ? guest.person : undefined
  }

  #forget(source: string): void {
    const guest = this.#known.get(source)
    if (guest === undefined) return
    this.#known.delete(source)
    const name = nameOf(guest.person)
    const addresses = this.#addresses.get(name)
    addresses?.delete(source)
    if (addresses?.size === 0) this.#addresses.delete(name)
  }
}

function nameOf({ tenant, user }: TurnOwner): string {
  return `${tenant} ${user}`
}

function first(addresses: Iterable<string>): string {
  const [oldest = ''] = addresses
  return oldest
}
