import { isIP } from 'node:net'
import { type IpAddress, parseIpAddress, unmapIpv4 } from './ip-address.ts'

/**
 * Whether an address is in a list as in `source-address`: addresses and CIDR blocks of both
 * families, separated by commas. Undefined when the list is malformed: no address is in such a
 * list. A block with bits after its prefix makes the list malformed, because its meaning is
 * unclear.
 */
export function matchesAddressList(list: string, address: string): boolean | undefined {
  const blocks = list.split(',').map(parseBlock)
  if (blocks.includes(undefined)) return undefined
  const wanted = parseAddress(address)
  if (wanted === undefined) return false
  const { bits, value } = unmapIpv4(wanted)
  return blocks.some(
    (block) => block?.bits === bits && block.value >> block.rest === value >> block.rest,
  )
}

/** A block, and how many of its bits may be anything. */
function parseBlock(text: string): (IpAddress & { readonly rest: bigint }) | undefined {
  const [, base = '', prefix] = /^([^/]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text) ?? []
  const address = parseAddress(base)
  if (address === undefined) return undefined
  const length = prefix === undefined ? address.bits : Number(prefix)
  if (length > address.bits) return undefined
  const rest = BigInt(address.bits - length)
  if ((address.value >> rest) << rest !== address.value) return undefined
  return { ...address, rest }
}

/** Only the usual spelling: other spellings that a resolver accepts are not entries of a list. */
function parseAddress(text: string): IpAddress | undefined {
  const address = parseIpAddress(text)
  if (address === undefined || address.zone !== '') return undefined
  return isIP(text) === 0 ? undefined : address
}
