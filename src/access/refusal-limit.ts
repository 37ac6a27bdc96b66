import { Shares } from '../shares.ts'

const perMinuteMax = 60
const usersMax = 10_000

/**
 * How many refusals of one user a minute go into the audit log: enough to see the problem, and too
 * few for a loop to fill the log. A tenant with too many users loses some of its own counts, and no
 * count of another tenant.
 */
export class RefusalLimit {
  #minute = 0
  /** By user. */
  readonly #taken = new Map<string, number>()
  readonly #shares = new Shares<string>()
  readonly #max: number

  constructor(max = usersMax) {
    this.#max = max
  }

  /** Whether this refusal may be logged. User ids are unique over all tenants. */
  take(tenant: string, user: string, nowMs: number): boolean {
    const minute = Math.floor(nowMs / 60_000)
    if (minute !== this.#minute) {
      this.#minute = minute
      this.#taken.clear()
      this.#shares.clear()
    }
    const taken = this.#taken.get(user) ?? 0
    if (taken >= perMinuteMax) return false
    if (taken === 0 && !this.#makeRoom(tenant)) return false
    this.#taken.set(user, taken + 1)
    this.#shares.add(tenant, user)
    return true
  }

  #makeRoom(tenant: string): boolean {
    if (this.#shares.size < this.#max) return true
    const oldest = this.#shares.toMakeRoomFor(tenant)
    if (oldest === undefined) return false
    this.#shares.delete(oldest.owner, oldest.key)
    this.#taken.delete(oldest.key)
    return true
  }
}
