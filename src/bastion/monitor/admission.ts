import { networksOf, sourceOf } from '../../address.ts'
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
 * When there is no room, one of the network that holds most of it makes room, however young it is, for a
 * network that holds less, and then the same by source. So no source loses a place to one that holds more, and a flood from a few
 * addresses locks nobody else out. Among sources that hold about as much, the connection that has waited
 * longest makes room: a client that holds connections open without a login loses them first. When these
 * are all young, the new one is refused.
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
    const isCrowded = this.#held(source) >= this.#limits.unauthenticatedPerSourceMax
    if (isCrowded || this.#strangers.size >= this.#limits.unauthenticatedMax) {
      const leaves = isCrowded
        ? this.#oldest((one) => one === source, now)
        : this.#leaver(source, now)
      if (leaves === undefined) return 'crowded'
      this.#forget(leaves)
      leaves.evict()
    }
    const stranger: Stranger = { source, since: now, evict }
    this.#strangers.add(stranger)
    this.#perSource.set(source, this.#held(source) + 1)
    return { release: () => this.#forget(stranger) }
  }

  #held(source: string): number {
    return this.#perSource.get(source) ?? 0
  }

  #leaver(newcomer: string, now: number): Stranger | undefined {
    const anyAge = Number.POSITIVE_INFINITY
    // Whoever has many addresses has neighbours.
    const networks = this.#perNetwork()
    const mostOfNetwork = Math.max(...networks.values())
    const held = (source: string) => networks.get(networkOf(source)) ?? 0
    if (held(newcomer) + 1 < mostOfNetwork) {
      return this.#oldest((source) => held(source) === mostOfNetwork, anyAge)
    }
    const own = this.#held(newcomer)
    const most = Math.max(...this.#perSource.values())
    return own + 1 < most
      ? this.#oldest((source) => this.#held(source) === most, anyAge)
      : this.#oldest((source) => this.#held(source) >= own, now)
  }

  #perNetwork(): ReadonlyMap<string, number> {
    const networks = new Map<string, number>()
    for (const [source, count] of this.#perSource) {
      const network = networkOf(source)
      networks.set(network, (networks.get(network) ?? 0) + count)
    }
    return networks
  }

  /** Of those sources, if it is old enough by then. */
  #oldest(isOf: (source: string) => boolean, now: number): Stranger | undefined {
    for (const stranger of this.#strangers) {
      if (isOf(stranger.source)) return now - stranger.since < settledMs ? undefined : stranger
    }
    return undefined
  }

  #forget(stranger: Stranger): void {
    if (!this.#strangers.delete(stranger)) return
    const left = this.#held(stranger.source) - 1
    if (left <= 0) this.#perSource.delete(stranger.source)
    else this.#perSource.set(stranger.source, left)
  }
}

/** The widest around a source: an IPv4 /24, or an IPv6 /32. */
function networkOf(source: string): string {
  return networksOf(source)[0] ?? source
}
