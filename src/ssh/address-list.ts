import { isIPv4, isIPv6 } from 'node:net'

interface Address {
  /** 32 or 128: how many bits the value has. */
  readonly bits: number
  readonly value: bigint
}

/** An IPv4 address as a socket for both families says it. */
const mappedPrefix = 0xffffn

/**
 * Whether an address is in a list as in `source-address`: addresses and CIDR blocks of both
 * families, separated by commas. Undefined when the list is malformed: nobody is in such a list, and
 * a block with bits behind its prefix is one, since it is not known what was meant.
 */
export function matchesAddressList(list: string, address: string): boolean | undefined {
  const blocks = list.split(',').map(parseBlock)
  if (blocks.includes(undefined)) return undefined
  const wanted = parseAddress(address)
  if (wanted === undefined) return false
  const { bits, value } = unmap(wanted)
  return blocks.some(
    (block) => block?.bits === bits && block.value >> block.rest === value >> block.rest,
  )
}

/** A block, and how many of its bits may be anything. */
function parseBlock(text: string): (Address & { readonly rest: bigint }) | undefined {
  const [, base = '', prefix] = /^([^/]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text) ?? []
  const address = parseAddress(base)
  if (address === undefined) return undefined
  const length = prefix === undefined ? address.bits : Number(prefix)
  if (length > address.bits) return undefined
  const rest = BigInt(address.bits - length)
  if ((address.value >> rest) << rest !== address.value) return undefined
  return { ...address, rest }
}

function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { bits: 32, value: joinGroups(text.split('.').map(Number), 8n) }
  // A zone belongs to one machine, so it has no place in a certificate.
  if (!isIPv6(text) || text.includes('%')) return undefined
  const [head = '', tail] = text.split('::')
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => 0)
  return { bits: 128, value: joinGroups([...left, ...zeros, ...right], 16n) }
}

/** Of one side of an IPv6 address, whose last 32 bits may be written as IPv4. */
function groups(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    const [a, b, c, d] = group.split('.').map(Number)
    if (a === undefined || b === undefined || c === undefined || d === undefined) {
      return [Number.parseInt(group, 16)]
    }
    return [a * 256 + b, c * 256 + d]
  })
}

function joinGroups(values: readonly number[], width: bigint): bigint {
  return values.reduce((joined, value) => (joined << width) | BigInt(value), 0n)
}

function unmap(address: Address): Address {
  if (address.bits === 32 || address.value >> 32n !== mappedPrefix) return address
  return { bits: 32, value: address.value & 0xffffffffn }
}
