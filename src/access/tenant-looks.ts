import { setTimeout as sleep } from 'node:timers/promises'
import type { TenantId } from '../postgres/index.ts'

/** At a time: the rest of the database's connections is for people. */
const looksAtOnce = 3
/** Between the end of a look at a tenant and the next one at the same tenant. */
const restMs = 200

/**
 * Looks at tenants when something may have changed there.
 *
 * Hints cost at most one check: hints that come while a tenant waits or is checked make one more
 * check, and no tenant is checked more than a few times a second.
 */
export class TenantLooks {
  readonly #look: (tenant: TenantId) => Promise<void>
  /** In the order of the requests. */
  readonly #due = new Set<TenantId>()
  /** Tenants that are being checked, or pause. */
  readonly #busy = new Set<TenantId>()
  readonly #closing = new AbortController()
  #running = 0

  /** look must not reject. */
  constructor(look: (tenant: TenantId) => Promise<void>) {
    this.#look = look
  }

  /** A check that begins later sees every change until now. */
  ask(tenant: TenantId): void {
    if (this.#closing.signal.aborted) return
    this.#due.add(tenant)
    this.#run()
  }

  close(): void {
    this.#closing.abort()
    this.#due.clear()
  }

  #run(): void {
    for (const tenant of this.#due) {
      if (this.#running >= looksAtOnce) return
      if (this.#busy.has(tenant)) continue
      this.#due.delete(tenant)
      this.#busy.add(tenant)
      this.#running += 1
      // A look logs its own failures.
      this.#lookAndRest(tenant).catch(() => {})
    }
  }

  async #lookAndRest(tenant: TenantId): Promise<void> {
    try {
      await this.#look(tenant)
    } finally {
      this.#running -= 1
      this.#run()
      await sleep(restMs, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {})
      this.#busy.delete(tenant)
      this.#run()
    }
  }
}
