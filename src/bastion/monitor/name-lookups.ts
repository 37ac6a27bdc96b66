import { Resolver } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { type IpAddress, parseIpAddress } from '../../ssh/index.ts'
import type { TurnOwner } from '../../turns.ts'
import { TimedTurns } from '../wire/timed-turns.ts'

export interface NameSources {
  /** Addresses of name servers, `HOST:PORT`; those of this host where undefined. */
  readonly servers?: readonly string[]
  /** The path of a file of names, as hosts(5) describes it. */
  readonly hostsFile?: string
}

const lookupMs = 1000
/** At the same time: no tenant takes the last third. */
const lookupsAtOnce = 48
/** For its turn and its answer together. */
const waitMs = 2 * lookupMs

/**
 * Finds the addresses of names that users give. It asks the file of hosts and the name servers by itself.
 * `getaddrinfo` would take one of the four threads that all file calls of this process share, for as long
 * as a name server says nothing.
 */
export class NameLookups {
  readonly #sources: NameSources
  readonly #turns = new TimedTurns(lookupsAtOnce, waitMs)

  constructor(sources: NameSources = {}) {
    this.#sources = sources
  }

  /** Never rejects. Empty where the name has no address, or where none is known after two seconds. */
  async addressesOf(host: string, owner: TurnOwner): Promise<readonly IpAddress[]> {
    try {
      return await this.#turns.run(owner, () => this.#ask(host))
    } catch {
      return []
    }
  }

  /** The file first, as programs do it. Ends within `lookupMs`, however many name servers there are. */
  async #ask(host: string): Promise<readonly IpAddress[]> {
    const { servers, hostsFile = '/etc/hosts' } = this.#sources
    const listed = await addressesIn(hostsFile, host)
    if (listed.length > 0) return parsed(listed)
    const resolver = new Resolver({ timeout: lookupMs, tries: 1 })
    if (servers !== undefined) resolver.setServers(servers)
    const timer = setTimeout(() => resolver.cancel(), lookupMs)
    try {
      const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
      return parsed(
        answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : [])),
      )
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Empty also where the file cannot be read. */
async function addressesIn(hostsFile: string, host: string): Promise<readonly string[]> {
  const text = await readFile(hostsFile, 'utf8').catch(() => '')
  return text.split('\n').flatMap((line) => {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/)
    return names.some((name) => name.toLowerCase() === host) ? [address] : []
  })
}

function parsed(texts: readonly string[]): readonly IpAddress[] {
  return texts.map(parseIpAddress).filter((address) => address !== undefined)
}
