/**
 * Limits the failed logins in a tenant's log: a number a minute from one address, and a number in
 * all. Others are counted, and the next written event has their number.
 */
export class FailureBudget {
  readonly #tenants = new Map<string, TenantFailures>()
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
    const failures = this.#of(tenant)
    const bySource = failures.perSource.get(source) ?? 0
    if (bySource >= perSourceMax || failures.written >= perTenantMax) {
      failures.held++
      return undefined
    }
    failures.perSource.set(source, bySource + 1)
    failures.written++
    const { held } = failures
    failures.held = 0
    return held
  }

  /** Counts failures that could not be written after all: the next one that is tells of them. */
  hold(tenant: string, count = 1): void {
    this.#of(tenant).held += count
  }

  #of(tenant: string): TenantFailures {
    const now = this.#now()
    if (now - this.#windowStart >= windowMs) {
      this.#windowStart = now
      for (const [id, { held }] of this.#tenants) {
        if (held === 0) this.#tenants.delete(id)
        else this.#tenants.set(id, { written: 0, held, perSource: new Map() })
      }
    }
    const failures = this.#tenants.get(tenant) ?? { written: 0, held: 0, perSource: new Map() }
    this.#tenants.set(tenant, failures)
    return failures
  }
}

/** Nothing of it is shared: a flood against one tenant hides no failure of another's. */
interface TenantFailures {
  written: number
  held: number
  /** By address; at most as many as were written. */
  readonly perSource: Map<string, number>
}

const windowMs = 60_000
const perSourceMax = 10
const perTenantMax = 120
