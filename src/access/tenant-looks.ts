import { setTimeout as sleep } from 'node:timers/promises'
import type { TenantId } from '../postgres/index.ts'

/** At a time: the rest of the database's connections is for people. */
const looksAtOnce = 3
/** Between the end of a look at a tenant and the next one at the same tenant. */
const restMs = 200

/**
 * Looks at tenants when something may have changed there.
 *
 * A hint costs a look at most, however many come: those that come while a tenant waits or is looked at
 * are one more look, and no tenant is looked at more than a few times a second.
 */
export class TenantLooks {
  readonly #look: (tenant: TenantId) => Promise<void>
  /** In the order in which they were asked for. */
  readonly #due = new Set<TenantId>()
  /** Those that are being looked at, or rest. */
  readonly #busy = new Set<TenantId>()
  readonly #closing = new AbortController()
  #running = 0

  /** look must not reject. */
  constructor(look: (tenant: TenantId) => Promise<void>) {
    this.#look = look
  }

  /** What has changed by now is seen by a look that begins later. */
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
