import { background, type Log } from '../../log.ts'
import { DatabaseUnavailable, type TenantId } from '../../postgres/index.ts'

interface Tried {
  /** Attempts that failed, one after the other. */
  failures: number
  running: Promise<void> | undefined
  /** It was asked for while an attempt ran. */
  isAskedAgain: boolean
  timer: NodeJS.Timeout | undefined
}

const pauseMs = 1000
const pauseMaxMs = 300_000
/** An outage is everybody's, and over at once for everybody. */
const outagePauseMaxMs = 5000
/** After so many failures in a row the rest of a tenant's is not tried: its log takes nothing now. */
const failuresMax = 3

/**
 * Work that must be done in the end, each tenant's by itself: what fails is tried again after a pause that
 * grows, and no other tenant waits for it.
 */
export class TenantRetries {
  readonly #attempt: (tenant: TenantId) => Promise<void>
  readonly #log: Log
  readonly #what: string
  readonly #tenants = new Map<TenantId, Tried>()

  /** attempt does what there is to do for a tenant, and rejects when some of it is left. */
  constructor(attempt: (tenant: TenantId) => Promise<void>, log: Log, what: string) {
    this.#attempt = attempt
    this.#log = log
    this.#what = what
  }

  /** Resolves when it was tried; at once where the tenant waits for its next try. Never rejects. */
  async ask(tenant: TenantId): Promise<void> {
    const tried = this.#of(tenant)
    if (tried.timer !== undefined) return
    if (tried.running !== undefined) tried.isAskedAgain = true
    else tried.running = this.#run(tenant, tried)
    await tried.running
  }

  /** Never rejects. */
  async #run(tenant: TenantId, tried: Tried): Promise<void> {
    do {
      tried.isAskedAgain = false
      try {
        await this.#attempt(tenant)
        tried.failures = 0
      } catch (err) {
        this.#pause(tenant, tried, err)
      }
    } while (tried.isAskedAgain && tried.timer === undefined)
    tried.running = undefined
    if (tried.timer === undefined) this.#tenants.delete(tenant)
  }

  #pause(tenant: TenantId, tried: Tried, err: unknown): void {
    tried.failures++
    const max = err instanceof DatabaseUnavailable ? outagePauseMaxMs : pauseMaxMs
    const ms = Math.min(pauseMs * 2 ** Math.min(tried.failures, 16), max)
    this.#log.warn({ err, tenant, what: this.#what }, 'not on record yet; it is tried again')
    tried.timer = setTimeout(() => {
      tried.timer = undefined
      background(this.ask(tenant), this.#log, this.#what)
    }, ms).unref()
  }

  #of(tenant: TenantId): Tried {
    const known = this.#tenants.get(tenant)
    if (known !== undefined) return known
    const tried = { failures: 0, running: undefined, isAskedAgain: false, timer: undefined }
    this.#tenants.set(tenant, tried)
    return tried
  }
}

/** What is left of a list: the rest, and behind it what failed. */
export interface Left<Item> {
  readonly left: readonly Item[]
  /** The last one. */
  readonly failure: unknown
}

/** Tries each, until some have failed. One that is always refused holds up none that comes behind it. */
export async function tryEach<Item>(
  items: readonly Item[],
  act: (item: Item) => Promise<void>,
): Promise<Left<Item>> {
  const failed: Item[] = []
  let failure: unknown
  for (const [at, item] of items.entries()) {
    if (failed.length >= failuresMax) return { left: [...items.slice(at), ...failed], failure }
    try {
      await act(item)
    } catch (err) {
      failed.push(item)
      failure = err
    }
  }
  return { left: failed, failure }
}
