import { lookup } from 'node:dns/promises'
import { isIPv4 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { resolve } from 'node:path'
import type { ForwardAddress } from '../../access/index.ts'
import { matchesAddressList } from '../../ssh/index.ts'
import { Turns } from '../../turns.ts'

/** What no forward may reach, wherever it leaves from. */
export interface OwnPlaces {
  /** Of our listeners, and of our datastores where they are on this host. */
  readonly ports: readonly number[]
  /** In which our sockets and keys lie. */
  readonly directories: readonly string[]
}

/** This host, as it is called from itself. */
const selfBlocks = '0.0.0.0/8,127.0.0.0/8,::/128,::1/128'
/** Clouds tell their secrets at one of these. */
const linkLocalBlocks = '169.254.0.0/16,fe80::/10,fd00:ec2::254/128'
const lookupMs = 2000
const lookupsMax = 2

/**
 * Keeps forwards from the bastion itself. They leave from the target, never from here; but a target
 * may be this very host, or reach it.
 */
export class ForwardGuard {
  readonly #own: () => OwnPlaces
  readonly #turns = new Turns(lookupsMax)

  constructor(own: () => OwnPlaces) {
    this.#own = own
  }

  /** The target is where it leaves from: `localhost` is that host's. */
  async refuses(destination: ForwardAddress, target: { readonly host: string }) {
    const { ports } = this.#own()
    const addresses = await this.#addressesOf(destination.host)
    // Whoever has a name answered slowly wants something of us.
    if (addresses === undefined) return true
    if (addresses.some((address) => isIn(linkLocalBlocks, address))) return true
    if (!ports.includes(destination.port)) return false
    const own = ownAddresses()
    if (addresses.some((address) => own.has(plain(address)))) return true
    if (!addresses.some((address) => isIn(selfBlocks, address))) return false
    return isThisHost((await this.#addressesOf(target.host)) ?? [target.host], own)
  }

  async refusesPath(path: string, target: { readonly host: string }): Promise<boolean> {
    const { directories } = this.#own()
    const asked = `${resolve('/', path)}/`
    if (!directories.some((directory) => asked.startsWith(`${resolve(directory)}/`))) return false
    return isThisHost((await this.#addressesOf(target.host)) ?? [target.host], ownAddresses())
  }

  /** Undefined when it took too long. Few at a time: each has one of the process's few threads. */
  async #addressesOf(host: string): Promise<readonly string[] | undefined> {
    const late = Promise.withResolvers<undefined>()
    const timer = setTimeout(() => late.resolve(undefined), lookupMs)
    const found = async () => {
      using _turn = await this.#turns.take()
      return await addressesOf(host)
    }
    try {
      return await Promise.race([found(), late.promise])
    } finally {
      clearTimeout(timer)
    }
  }
}

/** As a resolver reads it, odd spellings of numbers among them; none when only the target knows it. */
async function addressesOf(host: string): Promise<readonly string[]> {
  // OpenSSH takes these for any address.
  const name = host === '' || host === '*' ? '0.0.0.0' : host.replace(/%.*$|\.$/, '')
  try {
    return (await lookup(name, { all: true })).map(({ address }) => address)
  } catch {
    return []
  }
}

function isThisHost(addresses: readonly string[], own: ReadonlySet<string>): boolean {
  return addresses.some((address) => isIn(selfBlocks, address) || own.has(plain(address)))
}

function ownAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  return new Set(all.filter(({ internal }) => !internal).map(({ address }) => plain(address)))
}

function isIn(blocks: string, address: string): boolean {
  return matchesAddressList(blocks, plain(address)) === true
}

function plain(address: string): string {
  const [, mapped = ''] = /^::ffff:(.*)$/i.exec(address) ?? []
  return isIPv4(mapped) ? mapped : address.replace(/%.*$/, '').toLowerCase()
}
