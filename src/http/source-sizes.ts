import { networksOf } from '../address.ts'

/**
 * How many connections each source has. Newcomers ask who has the most, a thousand times a second in a flood:
 * the answer is kept, and not counted anew.
 */
export class SourceSizes {
  /** The sources that have so many, by network. */
  readonly #bySize = new Map<number, Map<string, Set<string>>>()
  #most = 0

  /** The most that one source has. */
  get most(): number {
    return this.#most
  }

  change(source: string, before: number, now: number): void {
    const network = networksOf(source).at(-2) ?? source
    if (before > 0) this.#remove(before, network, source)
    if (now > 0) this.#add(now, network, source)
    this.#most = Math.max(this.#most, now)
    while (this.#most > 0 && !this.#bySize.has(this.#most)) this.#most--
  }

  /** Of the sources that have the most, those of the networks with most such sources. */
  largest(): readonly string[] {
    const networks = [...(this.#bySize.get(this.#most)?.values() ?? [])]
    const most = networks.reduce((size, sources) => Math.max(size, sources.size), 0)
    return networks.filter(({ size }) => size === most).flatMap((sources) => [...sources])
  }

  #add(size: number, network: string, source: string): void {
    const networks = this.#bySize.get(size) ?? new Map<string, Set<string>>()
    const sources = networks.get(network) ?? new Set<string>()
    this.#bySize.set(size, networks.set(network, sources.add(source)))
  }

  #remove(size: number, network: string, source: string): void {
    const networks = this.#bySize.get(size)
    const sources = networks?.get(network)
    sources?.delete(source)
    if (sources?.size === 0) networks?.delete(network)
    if (networks?.size === 0) this.#bySize.delete(size)
  }
}
