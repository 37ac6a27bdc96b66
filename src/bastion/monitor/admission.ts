import { sourceOf } from '../../address.ts'
import type { BastionLimits } from '../../config.ts'
import { StartRate } from '../../start-rate.ts'

/** A connection that was admitted and has not logged in yet. */
export interface Admitted {
  /**
   * The connection has logged in or ended, so it no longer counts. A second call changes nothing.
   */
  release(): void
}

interface Stranger {
  readonly source: string
  readonly since: number
  readonly evict: () => void
}

/** A legitimate login is done well within this time; an older connection may make room. */
const settledMs = 2000

/**
 * Keeps strangers from crowding out users, before any cryptography.
 *
 * When there is no room, the connection that has waited longest makes room, and the new one is
 * admitted. A client that holds connections open without a login loses them first, so a flood of
 * half-open connections does not lock users out. When all are young, the new one is refused.
 */
export class Admission {
  readonly #limits: BastionLimits
  readonly #now: () => number
  /** In order of arrival. */
  readonly #strangers = new Set<Stranger>()
  readonly #perSource = new Map<string, number>()
  readonly #starts: StartRate

  constructor(limits: BastionLimits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
    this.#starts = new StartRate(limits.startsPerSecondMax, now)
  }

  get strangers(): number {
    return this.#strangers.size
  }

  /** evict must close the connection; it is called at most once, and never after release(). */
  admit(address: string, evict: () => void): Admitted | 'start-rate' | 'crowded' {
    const source = sourceOf(address)
    const now = this.#now()
    if (!this.#starts.start(source)) return 'start-rate'
    const crowded = (this.#perSource.get(source) ?? 0) >= this.#limits.unauthenticatedPerSourceMax
    if (crowded || this.#strangers.size >= this.#limits.unauthenticatedMax) {
      const oldest = this.#oldest(crowded ? source : undefined)
      if (oldest === undefined || now - oldest.since < settledMs) return 'crowded'
      this.#forget(oldest)
      oldest.evict()
    }
    const stranger: Stranger = { source, since: now, evict }
    this.#strangers.add(stranger)
    this.#perSource.set(source, (this.#perSource.get(source) ?? 0) + 1)
    return { release: () => this.#forget(stranger) }
  }

  #oldest(source: string | undefined): Stranger | undefined {
    for (const stranger of this.#strangers) {
      if (source === undefined || stranger.source === source) return stranger
    }
    return undefined
  }

  #forget(stranger: Stranger): void {
    if (!this.#strangers.delete(stranger)) return
    const left = (this.#perSource.get(stranger.source) ?? 1) - 1
    if (left === 0) this.#perSource.delete(stranger.source)
    else this.#perSource.set(stranger.source, left)
  }
}
