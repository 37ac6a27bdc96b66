import { BlockList, isIPv6 } from 'node:net'

/** Addresses and CIDR blocks of a setting, which has checked their form. */
export class AddressBlocks {
  readonly #list = new BlockList()

  constructor(blocks: readonly string[]) {
    for (const block of blocks) {
      const [address = '', prefix] = block.split('/')
      const family = isIPv6(address) ? 'ipv6' : 'ipv4'
      if (prefix === undefined) this.#list.addAddress(address, family)
      else this.#list.addSubnet(address, Number(prefix), family)
    }
  }

  has(address: string): boolean {
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    return this.#list.check(address.split('%')[0] ?? address, family)
  }
}
