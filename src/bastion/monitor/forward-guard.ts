import { networkInterfaces } from 'node:os'
import { dirname, isAbsolute } from 'node:path'
import type { ForwardAddress, ForwardProblem } from '../../access/index.ts'
import {
  embeddedIpv4,
  formatIpAddress,
  type IpAddress,
  matchesAddressList,
  parseIpAddress,
  unmapIpv4,
} from '../../ssh/index.ts'
import type { TurnOwner } from '../../turns.ts'
import { NameLookups } from './name-lookups.ts'
import { OwnFiles } from './own-files.ts'

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

/** Where a forward comes from, and who owns it. */
export interface ForwardOrigin {
  /** The address at which the bastion reached the target. */
  readonly peer: string
  readonly owner: TurnOwner
}

/** No forward may go there, whoever asks. */
export interface RefusedForward {
  readonly refused: ForwardProblem
}

/**
 * Keeps forwards away from the bastion itself, and from addresses at which clouds keep secrets. A
 * forward leaves from the target and never from here; but the target may be this very host, or
 * reach it.
 */
export class ForwardGuard {
  readonly #own: () => ProtectedDestinations
  readonly #names: NameLookups
  readonly #files: OwnFiles

  constructor(
    own: () => ProtectedDestinations,
    names: NameLookups = new NameLookups(),
    files: OwnFiles = new OwnFiles(() => own().directories),
  ) {
    this.#own = own
    this.#names = names
    this.#files = files
  }

  /**
   * The destination to give to the target, or why no forward may go there. Never rejects, and takes some
   * seconds at most, like the other methods.
   *
   * A name is resolved here. A target on this host gets the judged address if the port is one of ours.
   * Any other target resolves names by itself, so a name is judged only as far as this host knows it.
   */
  async judge(
    destination: ForwardAddress,
    { peer, owner }: ForwardOrigin,
  ): Promise<ForwardAddress | RefusedForward> {
    const { host, port } = destination
    const address = parse(host)
    if (address !== undefined) {
      const refused = this.#problemOf(address, port, peer)
      return refused === undefined ? destination : { refused }
    }
    if (metadataNames.test(host)) return { refused: 'cloud-address' }
    const isPinned = this.#own().ports.includes(port) && isThisHost(peer)
    if (isPinned && selfNames.test(host)) return { refused: 'own-port' }
    const addresses = (await this.#names.addressesOf(host, owner)).map(unmapIpv4)
    for (const one of addresses) {
      const refused = this.#problemOf(one, port, peer)
      if (refused !== undefined) return { refused }
    }
    if (!isPinned) return destination
    const [first] = addresses
    return first === undefined
      ? { refused: 'unknown-name' }
      : { host: formatIpAddress(first), port }
  }

  /** The path to give to the target, or why no forward may go there. */
  async judgePath(
    path: string,
    { peer, owner }: ForwardOrigin,
  ): Promise<{ readonly path: string } | RefusedForward> {
    // Another host's files are its own affair.
    if (!isThisHost(peer)) return { path }
    if (!isAbsolute(path)) return { refused: 'relative-path' }
    const real = await this.#files.realPathOfOther(path, owner)
    return real === undefined ? { refused: 'closed-path' } : { path: real }
  }

  /** Why a target may make no socket at a path: on this host, not among our own files. */
  async problemOfListenPath(
    path: string,
    { peer, owner }: ForwardOrigin,
  ): Promise<ForwardProblem | undefined> {
    if (!isThisHost(peer)) return undefined
    if (!isAbsolute(path)) return 'relative-path'
    const real = await this.#files.realPathOfOther(dirname(path), owner)
    return real === undefined ? 'closed-path' : undefined
  }

  /**
   * Why a target may not listen at an address: on this host, not at a port of ours, on any address. A client
   * that tries the addresses of `localhost` in turn would come to the target in place of us.
   */
  problemOfListenPort(
    { port }: Pick<ForwardAddress, 'port'>,
    { peer }: Pick<ForwardOrigin, 'peer'>,
  ): ForwardProblem | undefined {
    // The target picks a free port for 0, which is also the port of our listeners without a fixed one.
    if (port === 0 || !isThisHost(peer)) return undefined
    return this.#own().ports.includes(port) ? 'own-port' : undefined
  }

  #problemOf(address: IpAddress, port: number, peer: string): ForwardProblem | undefined {
    const all = [address, ...embeddedIpv4(address)]
    if (all.some((one) => isIn(linkLocalBlocks, one))) return 'cloud-address'
    if (!this.#own().ports.includes(port)) return undefined
    const own = ownAddresses()
    const isOwn =
      all.some((one) => own.has(plain(one))) ||
      (all.some((one) => isIn(selfBlocks, one)) && isThisHost(peer))
    return isOwn ? 'own-port' : undefined
  }
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
