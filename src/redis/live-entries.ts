import { type LiveRegistry, type LiveSession, oldestFirst } from './live-session.ts'

interface Entry {
  readonly live: LiveSession
  readonly expiresAt: number
}

/**
 * The sessions of one process: the whole registry of a single node, and the local part of a node.
 */
export class LiveEntries implements LiveRegistry {
  readonly #tenants = new Map<string, Map<string, Entry>>()
  #sweepAt = 0

  async put(live: LiveSession, ttlMs: number): Promise<void> {
    this.#sweep()
    const entries = this.#tenants.get(live.tenant) ?? new Map<string, Entry>()
    entries.set(live.session, { live: { ...live }, expiresAt: Date.now() + ttlMs })
    this.#tenants.set(live.tenant, entries)
  }

  async remove(tenant: string, session: string): Promise<void> {
    const entries = this.#tenants.get(tenant)
    entries?.delete(session)
    if (entries?.size === 0) this.#tenants.delete(tenant)
  }

  async list(tenant: string): Promise<LiveSession[]> {
    const now = Date.now()
    const entries = [...(this.#tenants.get(tenant)?.values() ?? [])]
    return oldestFirst(entries.filter(({ expiresAt }) => expiresAt > now).map(({ live }) => live))
  }

  /** An entry that is not removed must expire: all are checked twice a minute. */
  #sweep(): void {
    const now = Date.now()
    if (now < this.#sweepAt) return
    this.#sweepAt = now + 30_000
    for (const [tenant, entries] of this.#tenants) {
      for (const [session, { expiresAt }] of entries) if (expiresAt <= now) entries.delete(session)
      if (entries.size === 0) this.#tenants.delete(tenant)
    }
  }
}
