import { isIPv4, isIPv6 } from 'node:net'

/** An address as one number, whatever its spelling. */
export interface IpAddress {
  /** 32 for IPv4, 128 for IPv6. */
  readonly bits: 32 | 128
  readonly value: bigint
  /** The interface that a link-local address belongs to; empty for none. */
  readonly zone: string
}

const mask32 = 0xffff_ffffn
/** `::ffff:0:0/96`: IPv4 as a socket for both families shows it. RFC 4291 section 2.5.5.2. */
const mappedPrefix = 0xffffn
const zonePattern = /^[A-Za-z0-9_.-]{1,32}$/

/**
 * Reads an address in every spelling that a resolver takes for one: IPv4 with one to four parts in
 * decimal, octal or hexadecimal (inet_aton(3)), IPv6 (RFC 4291 section 2.2) with a zone (RFC 4007
 * section 11). Undefined for a name.
 */
export function parseIpAddress(text: string): IpAddress | undefined {
  const [base = '', zone = '', ...more] = text.split('%')
  if (more.length > 0 || (text.includes('%') && !zonePattern.test(zone))) return undefined
  if (isIPv6(base)) return { bits: 128, value: readIpv6(base), zone }
  if (text.includes('%')) return undefined
  const value = readIpv4(base)
  return value === undefined ? undefined : { bits: 32, value, zone: '' }
}

/** The one spelling of an address: RFC 5952 section 4 for IPv6. */
export function formatIpAddress({ bits, value, zone }: IpAddress): string {
  if (bits === 32) return formatIpv4(value)
  const text = compress(groupsOf(value))
  return zone === '' ? text : `${text}%${zone}`
}

/**
 * The IPv4 addresses that packets to an IPv6 address may end at: of an address that holds one for a
 * translator or a tunnel (compatible, RFC 4291 section 2.5.5.1; NAT64, RFC 6052 and RFC 8215; 6to4, RFC
 * 3056). Empty for every other address.
 */
export function embeddedIpv4({ bits, value }: IpAddress): readonly IpAddress[] {
  if (bits === 32) return []
  const ipv4 = (inner: bigint): IpAddress => ({ bits: 32, value: inner & mask32, zone: '' })
  const isCompatible = value >> 32n === 0n && value > 1n
  const isNat64 =
    value >> 32n === 0x0064_ff9b_0000_0000_0000_0000n || value >> 80n === 0x0064_ff9b_0001n
  // `::ffff:0:a.b.c.d`, RFC 2765 section 2.1.
  const isTranslated = value >> 32n === 0xffff_0000n
  if (isCompatible || isNat64 || isTranslated) return [ipv4(value)]
  return value >> 112n === 0x2002n ? [ipv4(value >> 80n)] : []
}

/** IPv4 where it was mapped into IPv6: both reach the same host. */
export function unmapIpv4(address: IpAddress): IpAddress {
  if (address.bits === 32 || address.value >> 32n !== mappedPrefix) return address
  return { bits: 32, value: address.value & mask32, zone: '' }
}

function readIpv4(text: string): bigint | undefined {
  if (isIPv4(text)) return joinGroups(text.split('.').map(Number), 8n)
  const parts = text.split('.')
  if (parts.length > 4) return undefined
  const values = parts.map(readNumber)
  let joined = 0n
  for (const [index, value] of values.entries()) {
    const isLast = index === values.length - 1
    // The last part fills all the bytes that are left.
    const bytes = isLast ? 4 - index : 1
    if (value === undefined || value >= 1n << BigInt(8 * bytes)) return undefined
    joined = (joined << BigInt(8 * bytes)) | value
  }
  return joined
}

/** As strtoul(3) with base 0 reads it. */
function readNumber(text: string): bigint | undefined {
  if (/^0[xX][0-9a-fA-F]{1,16}$/.test(text)) return BigInt(text)
  if (/^0[0-7]{0,22}$/.test(text)) return BigInt(`0o${text}`)
  return /^[1-9]\d{0,19}$/.test(text) ? BigInt(text) : undefined
}

function readIpv6(text: string): bigint {
  const [head = '', tail] = text.split('::')
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => 0)
  return joinGroups([...left, ...zeros, ...right], 16n)
}

/** The groups of one side of an IPv6 address, whose last 32 bits may be written as IPv4. */
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

function formatIpv4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.')
}

function groupsOf(value: bigint): readonly string[] {
  return Array.from({ length: 8 }, (_, index) =>
    ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16),
  )
}

/** The longest run of two or more zeros becomes `::`; of several the first one. */
function compress(hex: readonly string[]): string {
  let from = 0
  let length = 0
  for (let start = 0; start < 8; start++) {
    let run = 0
    while (start + run < 8 && hex[start + run] === '0') run++
    if (run > length) [from, length] = [start, run]
  }
  if (length < 2) return hex.join(':')
  return `${hex.slice(0, from).join(':')}::${hex.slice(from + length).join(':')}`
}
