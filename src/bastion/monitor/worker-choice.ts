import { randomInt } from 'node:crypto'
import { sourceOf } from '../../address.ts'

/** A worker, as far as the choice among workers needs it. */
export interface Candidate {
  /** How many connections it has, by its own word: it says when one has ended. */
  readonly connections: number
}

/** The addresses that a worker got connections from, since when, and whether a user has logged in. */
type Served = Map<string, { readonly sinceMs: number; hasUser: boolean }>

/** Of the last connections that were given, eight for each worker are remembered, */
const rememberedEach = 8
/** and of these each worker may have one more than its even share. */
const givenMax = rememberedEach + 1
/** An honest worker logs a user in within this time. */
const loginMs = 30_000
const forgetMs = 3_600_000
/** From so many addresses on, each of another user, a worker is compared with the others. */
const addressesMin = 8
/** An entry is some 200 bytes. */
const addressesMax = 4096

/**
 * Chooses the worker for each new connection: by chance, and every other time the one with the fewest. The
 * chance is for the comparison below: no habit of a client may put its logins here and its failures there.
 *
 * A worker that was taken over can say that all its connections have ended. So no worker gets many more
 * than its share of the connections that this process has given lately, whatever it says.
 *
 * A worker is suspect when users log in at other workers, and do not log in there. It gets no connections while
 * another worker serves. Only addresses from which a user has logged in count, each with a user of its
 * own, and once: strangers cannot make an honest worker suspect, and a user is one voice.
 */
export class WorkerChoice<Worker extends Candidate> {
  readonly #now: () => number
  /** The workers that got the last connections, the latest at the end. */
  #given: Worker[] = []
  readonly #served = new Map<Worker, Served>()
  /** The address from which a user was first seen to log in. */
  readonly #addressOf = new Map<string, string>()
  readonly #addresses = new Set<string>()
  readonly #suspects = new Set<Worker>()
  #forgotAtMs: number

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#forgotAtMs = now()
  }

  /** Undefined when there are no workers. */
  choose(workers: readonly Worker[]): Worker | undefined {
    const trusted = workers.filter((worker) => !this.#suspects.has(worker))
    const able = trusted.length > 0 ? trusted : workers
    this.#given = this.#given.slice(1 - rememberedEach * able.length)
    const within = able.filter((worker) => this.#givenTo(worker) < givenMax)
    return anyOf(randomInt(2) === 0 ? within : fewest(within))
  }

  /** The worker gets a connection from there. */
  give(worker: Worker, address: string): void {
    this.#given.push(worker)
    const served: Served = this.#served.get(worker) ?? new Map()
    this.#served.set(worker, served)
    const source = sourceOf(address)
    if (served.has(source) || served.size >= addressesMax) return
    served.set(source, { sinceMs: this.#now(), hasUser: false })
  }

  /** A user has proved to this process who they are, on a connection of the worker. */
  loggedIn(worker: Worker, address: string, user: string): void {
    const source = sourceOf(address)
    const isNew = !this.#addressOf.has(user) && !this.#addresses.has(source)
    if (isNew && this.#addressOf.size < addressesMax) {
      this.#addressOf.set(user, source)
      this.#addresses.add(source)
    }
    const served = this.#served.get(worker)?.get(source)
    if (served !== undefined) served.hasUser = true
  }

  /** Compares the workers. Returns those that are suspect from now on. */
  review(workers: readonly Worker[]): readonly Worker[] {
    if (this.#now() - this.#forgotAtMs > forgetMs) this.#forgetAll()
    const trusted = workers.filter((worker) => !this.#suspects.has(worker))
    const counts = new Map(trusted.map((worker) => [worker, this.#count(worker)] as const))
    const all = sum([...counts.values()])
    const found: Worker[] = []
    for (const [worker, own] of counts) {
      const others = { seen: all.seen - own.seen, users: all.users - own.users }
      const isBad = own.seen >= addressesMin && own.users * 8 < own.seen
      const areGood = others.seen >= addressesMin && others.users * 4 >= others.seen * 3
      if (isBad && areGood) found.push(worker)
    }
    for (const worker of found) this.#suspects.add(worker)
    return found
  }

  /** The worker has ended. */
  forget(worker: Worker): void {
    this.#given = this.#given.filter((other) => other !== worker)
    this.#served.delete(worker)
    this.#suspects.delete(worker)
  }

  #givenTo(worker: Worker): number {
    return this.#given.reduce((sum, other) => sum + (other === worker ? 1 : 0), 0)
  }

  /** The addresses of users that it was given, and those at which it logged a user in. */
  #count(worker: Worker): { readonly seen: number; readonly users: number } {
    const until = this.#now() - loginMs
    const judged = [...(this.#served.get(worker) ?? [])].filter(
      ([source, { sinceMs, hasUser }]) =>
        this.#addresses.has(source) && (hasUser || sinceMs < until),
    )
    return { seen: judged.length, users: judged.filter(([, { hasUser }]) => hasUser).length }
  }

  #forgetAll(): void {
    this.#forgotAtMs = this.#now()
    this.#served.clear()
    this.#addressOf.clear()
    this.#addresses.clear()
    this.#suspects.clear()
  }
}

function fewest<Worker extends Candidate>(workers: readonly Worker[]): readonly Worker[] {
  const least = Math.min(...workers.map(({ connections }) => connections))
  return workers.filter(({ connections }) => connections === least)
}

function anyOf<Item>(items: readonly Item[]): Item | undefined {
  return items.length === 0 ? undefined : items[randomInt(items.length)]
}

function sum(counts: readonly { readonly seen: number; readonly users: number }[]) {
  return counts.reduce(
    (all, { seen, users }) => ({ seen: all.seen + seen, users: all.users + users }),
    { seen: 0, users: 0 },
  )
}
