import { background, type Log } from '../log.ts'
import { DatabaseUnavailable, NodeLeaseLost, type TenantId } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import { Shares } from '../shares.ts'
import type { AccessMetrics } from './metrics.ts'

/** Puts an end on record; it may be called again when it succeeded without an answer. */
export type Write = () => Promise<void>

/** Of one tenant. */
interface Owner {
  /** In the order in which they are tried next. */
  readonly writes: Map<SessionId, Write>
  /** Rounds that failed, one after the other. */
  failures: number
  isRunning: boolean
  timer: NodeJS.Timeout | undefined
  /** Called when all was written, or the tenant waits. */
  readonly rested: (() => void)[]
}

/** Tenants served at a time: the rest of the database's connections is for people. */
const ownersAtOnce = 4
/**
 * After this number of failures in a round the tenant waits, because its log cannot be written now.
 */
const failuresMax = 3
/** Of one tenant in a round: then it is the next one's turn. */
const roundMaxDefault = 20
const pauseMs = 1000
const pauseMaxMs = 300_000
/** An outage is everybody's, and over at once for everybody. */
const outagePauseMaxMs = 5000
/**
 * For all tenants together. At this number the tenant with the most ends leaves its oldest to recovery, which
 * finds it in the database, without the facts that only this process knew.
 */
const writesMax = 50_000

/**
 * Ends of sessions, or recordings, that could not be put on record yet.
 *
 * Each belongs to its tenant. Tenants take turns, a failure delays only its own tenant, and within
 * a tenant a failed write goes after those that were not tried.
 */
export class OwedWork {
  readonly #log: Log
  readonly #metrics: Pick<AccessMetrics, 'owed' | 'owedFailures'>
  readonly #owners = new Map<TenantId, Owner>()
  /** Tenants whose turn it is, in order. */
  readonly #due = new Set<TenantId>()
  readonly #shares = new Shares<SessionId, TenantId>()
  readonly #max: number
  readonly #roundMax: number
  #running = 0
  #isClosed = false

  constructor(
    log: Log,
    metrics: Pick<AccessMetrics, 'owed' | 'owedFailures'>,
    max: number = writesMax,
    roundMax: number = roundMaxDefault,
  ) {
    this.#log = log
    this.#metrics = metrics
    this.#max = max
    this.#roundMax = roundMax
  }

  has(tenant: TenantId, session: SessionId): boolean {
    return this.#owners.get(tenant)?.writes.has(session) ?? false
  }

  /** Writes now. Rejects when that fails; it is then tried again until it succeeds. */
  async attempt(tenant: TenantId, session: SessionId, write: Write): Promise<void> {
    // Known from before the first try, so that no sweep takes the session for forgotten.
    const owner = this.#enter(tenant, session, write)
    try {
      await write()
      this.#done(tenant, session, write)
    } catch (err) {
      if (owner !== undefined) this.#wait(tenant, owner, err)
      throw err
    }
  }

  /** Writes when it is the tenant's turn, and again until it succeeds. A later write replaces this one. */
  add(tenant: TenantId, session: SessionId, write: Write): void {
    const owner = this.#enter(tenant, session, write)
    if (owner === undefined || owner.timer !== undefined || owner.isRunning) return
    this.#due.add(tenant)
    this.#runDue()
  }

  /** Resolves when the tenant owes no end, or when its log cannot be written now. */
  rested(tenant: TenantId): Promise<void> {
    const owner = this.#owners.get(tenant)
    if (owner === undefined || owner.timer !== undefined || this.#isClosed) return Promise.resolve()
    return new Promise((resolve) => owner.rested.push(resolve))
  }

  /** The process that ends this one's sessions writes the owed ends. */
  close(): void {
    this.#isClosed = true
    for (const owner of this.#owners.values()) {
      clearTimeout(owner.timer)
      tellRested(owner)
    }
  }

  #enter(tenant: TenantId, session: SessionId, write: Write): Owner | undefined {
    const isNew = this.#owners.get(tenant)?.writes.has(session) !== true
    if (isNew && this.#shares.size >= this.#max && !this.#makeRoom(tenant)) {
      this.#giveUp(session)
      return undefined
    }
    const owner = this.#owners.get(tenant) ?? newOwner()
    this.#owners.set(tenant, owner)
    owner.writes.set(session, write)
    this.#shares.add(tenant, session)
    this.#metrics.owed.set(this.#shares.size)
    return owner
  }

  /** A tenant whose log takes nothing must not use up the room of the others. */
  #makeRoom(tenant: TenantId): boolean {
    const oldest = this.#shares.toMakeRoomFor(tenant)
    if (oldest === undefined) return false
    const { key: session } = oldest
    this.#shares.delete(oldest.owner, session)
    this.#owners.get(oldest.owner)?.writes.delete(session)
    this.#giveUp(session)
    return true
  }

  #giveUp(session: SessionId): void {
    this.#log.error({ session }, 'too many ends wait for the database: a sweep finds this one')
  }

  #done(tenant: TenantId, session: SessionId, write: Write): void {
    const owner = this.#owners.get(tenant)
    if (owner?.writes.get(session) !== write) return
    owner.writes.delete(session)
    this.#shares.delete(tenant, session)
    this.#metrics.owed.set(this.#shares.size)
    if (owner.writes.size > 0) return
    tellRested(owner)
    clearTimeout(owner.timer)
    this.#owners.delete(tenant)
    this.#due.delete(tenant)
  }

  #runDue(): void {
    for (const tenant of this.#due) {
      if (this.#running >= ownersAtOnce || this.#isClosed) return
      this.#due.delete(tenant)
      const owner = this.#owners.get(tenant)
      if (owner === undefined || owner.isRunning) continue
      this.#running += 1
      owner.isRunning = true
      const round = this.#round(tenant, owner).finally(() => {
        owner.isRunning = false
        this.#running -= 1
        this.#runDue()
      })
      background(round, this.#log, 'a round of owed ends')
    }
  }

  /** Tries some of a tenant's writes once, until too many fail. */
  async #round(tenant: TenantId, owner: Owner): Promise<void> {
    let failures = 0
    let last: unknown
    for (const [session, write] of [...owner.writes].slice(0, this.#roundMax)) {
      if (this.#isClosed || failures >= failuresMax) break
      try {
        await write()
        this.#done(tenant, session, write)
        owner.failures = 0
      } catch (err) {
        failures += 1
        last = err
        this.#metrics.owedFailures.inc()
        // After those that were not tried.
        if (owner.writes.get(session) === write) {
          owner.writes.delete(session)
          owner.writes.set(session, write)
        }
      }
    }
    if (failures > 0) return this.#wait(tenant, owner, last)
    // Those beyond this round, and those that came while it ran.
    if (owner.writes.size > 0) this.#due.add(tenant)
  }

  #wait(tenant: TenantId, owner: Owner, err: unknown): void {
    if (this.#isClosed || owner.timer !== undefined) return
    // Another process ends these sessions.
    if (err instanceof NodeLeaseLost) return this.close()
    owner.failures += 1
    const max = err instanceof DatabaseUnavailable ? outagePauseMaxMs : pauseMaxMs
    const ms =
      Math.min(pauseMs * 2 ** Math.min(owner.failures, 16), max) * (0.75 + Math.random() / 4)
    const owed = owner.writes.size
    this.#log.warn(
      { err, tenant, owed },
      'ends of sessions, or recordings, could not be put on record yet',
    )
    owner.timer = setTimeout(() => {
      owner.timer = undefined
      this.#due.add(tenant)
      this.#runDue()
    }, ms).unref()
    tellRested(owner)
  }
}

function tellRested({ rested }: Owner): void {
  for (const tell of rested.splice(0)) tell()
}

function newOwner(): Owner {
  return { writes: new Map(), failures: 0, isRunning: false, timer: undefined, rested: [] }
}
