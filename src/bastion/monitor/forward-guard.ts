import { lookup, Resolver } from 'node:dns/promises'
import { readdirSync, realpathSync, statSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import type { ForwardAddress } from '../../access/index.ts'
import {
  embeddedIpv4,
  formatIpAddress,
  type IpAddress,
  matchesAddressList,
  parseIpAddress,
  unmapIpv4,
} from '../../ssh/index.ts'

/** The addresses and files of the bastion itself, which no forward may reach. */
export interface ProtectedDestinations {
  /** Of our listeners, and of our datastores where they are on this host. */
  readonly ports: readonly number[]
  /** The directories of our sockets and keys. */
  readonly directories: readonly string[]
}

/** This host's addresses for itself. */
const selfBlocks = '0.0.0.0/8,127.0.0.0/8,::/128,::1/128'
/** Clouds give their secrets to a host at one of these: link-local ones, and those of AWS, Google, Azure, Alibaba and Oracle. */
const linkLocalBlocks =
  '169.254.0.0/16,fe80::/10,fd00:ec2::254/128,fd20:ce::254/128,168.63.129.16/32,100.100.100.200/32,192.0.0.192/32'
/** Names of the host itself; many resolvers answer them without a query. */
const selfNames =
  /^(localhost|localhost\.localdomain|localhost[46]?|ip6-(localhost|loopback))$|\.localhost$/
/** The clouds' names of those addresses. */
const metadataNames =
  /^(metadata(\.google\.internal|\.goog|\.tencentyun\.com)?|instance-data(\.[a-z0-9-]+)*(\.internal)?)$/
const lookupMs = 1000
/** Look-ups of one tenant at a time, of names that the target alone can resolve for certain. */
const lookupsPerTenantMax = 16

/**
 * Keeps forwards away from the bastion itself, and from addresses at which clouds keep secrets. A
 * forward leaves from the target and never from here; but the target may be this very host, or
 * reach it.
 */
export class ForwardGuard {
  readonly #own: () => ProtectedDestinations
  readonly #lookups = new Map<string, number>()

  constructor(own: () => ProtectedDestinations) {
    this.#own = own
  }

  /**
   * The destination to give to the target, or undefined if no forward may go there. `peer` is the
   * address at which the bastion reached the target.
   *
   * If the target is this host, a name is resolved and judged here, and the target gets the judged
   * address. Any other target resolves names by itself, so only the name itself is judged.
   */
  async judge(
    destination: ForwardAddress,
    { peer, tenant }: { readonly peer: string; readonly tenant: string },
  ): Promise<ForwardAddress | undefined> {
    const address = parse(destination.host)
    if (address !== undefined) {
      return this.#isRefused(address, destination.port, peer) ? undefined : destination
    }
    if (metadataNames.test(destination.host)) return undefined
    const isOwnPort = this.#own().ports.includes(destination.port)
    if (!isOwnPort || !isThisHost(peer)) return this.#judgeName(destination, peer, tenant)
    if (selfNames.test(destination.host)) return undefined
    const addresses = await resolveHere(destination.host)
    const [first] = addresses
    if (first === undefined) return undefined
    if (addresses.some((one) => this.#isRefused(one, destination.port, peer))) return undefined
    return { host: formatIpAddress(first), port: destination.port }
  }

  /** The path to give to the target, or undefined if no forward may go there. */
  judgePath(path: string, { peer }: { readonly peer: string }): string | undefined {
    // Another host's files are its own affair.
    if (!isThisHost(peer)) return path
    try {
      if (!isAbsolute(path)) return undefined
      const real = realpathSync.native(path)
      return this.#isOwnFile(real) ? undefined : real
    } catch {
      // A path that cannot be resolved here may go anywhere for the target's user.
      return undefined
    }
  }

  /** Whether a target may make a socket at a path: on this host, not among our own files. */
  mayListenAt(path: string, { peer }: { readonly peer: string }): boolean {
    if (!isThisHost(peer)) return true
    const directory = isAbsolute(path) ? realPathOf(dirname(path)) : undefined
    return directory !== undefined && !this.#isOwnFile(directory)
  }

  /** By device and inode: a file may have many names. */
  #isOwnFile(real: string): boolean {
    const found = statSync(real)
    const { dev, ino } = found
    return this.#own().directories.some((directory) => {
      const own = realPathOf(directory)
      if (own === undefined) return false
      if (real === own || real.startsWith(`${own}/`)) return true
      return found.isSocket() && socketsIn(own).some((file) => isSame(file, dev, ino))
    })
  }

  async #judgeName(
    destination: ForwardAddress,
    peer: string,
    tenant: string,
  ): Promise<ForwardAddress | undefined> {
    const busy = this.#lookups.get(tenant) ?? 0
    // Only the target's resolver counts. A tenant's slow names must not delay other tenants.
    if (busy >= lookupsPerTenantMax) return destination
    this.#lookups.set(tenant, busy + 1)
    try {
      const addresses = await resolveSoon(destination.host)
      const isRefused = addresses.some((one) => this.#isRefused(one, destination.port, peer))
      return isRefused ? undefined : destination
    } finally {
      const left = (this.#lookups.get(tenant) ?? 1) - 1
      if (left === 0) this.#lookups.delete(tenant)
      else this.#lookups.set(tenant, left)
    }
  }

  #isRefused(address: IpAddress, port: number, peer: string): boolean {
    const all = [address, ...embeddedIpv4(address)]
    if (all.some((one) => isIn(linkLocalBlocks, one))) return true
    if (!this.#own().ports.includes(port)) return false
    const own = ownAddresses()
    if (all.some((one) => own.has(plain(one)))) return true
    return all.some((one) => isIn(selfBlocks, one)) && isThisHost(peer)
  }
}

/** The answers of the local resolver, which the target's programs on this host ask too. */
async function resolveHere(host: string): Promise<readonly IpAddress[]> {
  try {
    const found = await lookup(host, { all: true })
    return found.map(({ address }) => parse(address)).filter((one) => one !== undefined)
  } catch {
    return []
  }
}

/** The answers of the name servers, without the threads that files and look-ups share. */
async function resolveSoon(host: string): Promise<readonly IpAddress[]> {
  const resolver = new Resolver({ timeout: lookupMs, tries: 1 })
  const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
  return answers
    .flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
    .map(parse)
    .filter((one) => one !== undefined)
}

function isThisHost(peer: string): boolean {
  const address = parse(peer)
  // A peer without a valid address may be this host.
  return address === undefined || isIn(selfBlocks, address) || ownAddresses().has(plain(address))
}

function ownAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  return new Set(
    all.flatMap(({ address }) => {
      const parsed = parse(address)
      // An address that a balancer leads here may be one of the loopback interface.
      return parsed === undefined || isIn(selfBlocks, parsed) ? [] : [plain(parsed)]
    }),
  )
}

function parse(text: string): IpAddress | undefined {
  const address = parseIpAddress(text)
  return address === undefined ? undefined : unmapIpv4(address)
}

/** Without its zone: which interface a packet leaves by does not change the host that it is for. */
function plain(address: IpAddress): string {
  return formatIpAddress({ ...address, zone: '' })
}

function isIn(blocks: string, address: IpAddress): boolean {
  return matchesAddressList(blocks, plain(address)) === true
}

function realPathOf(path: string): string | undefined {
  try {
    return realpathSync.native(path)
  } catch {
    return undefined
  }
}

/** The sockets directly in a directory, as paths. */
function socketsIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isSocket())
      .map(({ name }) => join(directory, name))
  } catch {
    return []
  }
}

function isSame(file: string, dev: number, ino: number): boolean {
  try {
    const found = statSync(file)
    return found.dev === dev && found.ino === ino
  } catch {
    return false
  }
}
