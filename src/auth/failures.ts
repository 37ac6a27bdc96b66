/**
 * Limits the failed logins in a tenant's log: a number a minute from one address, and a number in
 * all. Others are counted, and the next written event has their number.
 */
export class FailureBudget {
  readonly #perSource = new Map<string, number>()
  readonly #perTenant = new Map<string, { written: number; held: number }>()
  readonly #now: () => number
  #windowStart = 0

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /**
   * Undefined when this failure must not be written; otherwise the number of earlier ones that were
   * not.
   */
  take(tenant: string, source: string): number | undefined {
    const now = this.#now()
    if (now - this.#windowStart >= windowMs) {
      this.#windowStart = now
      this.#perSource.clear()
      for (const [id, { held }] of this.#perTenant) {
        if (held === 0) this.#perTenant.delete(id)
        else this.#perTenant.set(id, { written: 0, held })
      }
    }
    const key = `${tenant} ${source}`
    const bySource = this.#perSource.get(key) ?? 0
    const byTenant = this.#perTenant.get(tenant) ?? { written: 0, held: 0 }
    this.#perTenant.set(tenant, byTenant)
    const full = this.#perSource.size >= sourcesMax && bySource === 0
    if (full || bySource >= perSourceMax || byTenant.written >= perTenantMax) {
      byTenant.held++
      return undefined
    }
    this.#perSource.set(key, bySource + 1)
    const { held } = byTenant
    this.#perTenant.set(tenant, { written: byTenant.written + 1, held: 0 })
    return held
  }
}

const windowMs = 60_000
const perSourceMax = 10
const perTenantMax = 120
const sourcesMax = 10_000
