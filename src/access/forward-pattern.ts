import { matchesAddressList } from '../ssh/index.ts'

export interface ForwardAddress {
  readonly host: string
  /** 0 to 65535. */
  readonly port: number
}

/** The port or socket at the end of a forward, in the spelling that the target gets. */
export type ForwardDestination = ForwardAddress | { readonly path: string }

const shape = /^(\[[^\]]{1,64}\]|[^:]{1,255}):(\*|\d{1,5}(?:-\d{1,5})?)$/
const hostShape =
  /^(?:\*|(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|[0-9A-Fa-f:.]+(?:\/\d{1,3})?)$/
const portMax = 65_535

interface Pattern {
  readonly host: string
  readonly from: number
  readonly to: number
}

/**
 * Whether a text is a valid pattern of destinations: `HOST:PORT`, where the host is a name,
 * `*.name`, an address, a CIDR block or `*`, IPv6 in brackets, and the port a number, a range or
 * `*`.
 */
export function isForwardPattern(text: string): boolean {
  return parse(text) !== undefined
}

/**
 * The host of the destination has its one spelling (`canonicalHost`), which the target gets too.
 * The target resolves names, so a pattern with a name allows any address that the target's resolver
 * gives for it; to allow only addresses, write addresses and blocks. No pattern names a socket's
 * path, so a grant that lists ports allows no socket.
 */
export function matchesForward(text: string, destination: ForwardDestination): boolean {
  if ('path' in destination) return false
  const { host, port } = destination
  const pattern = parse(text)
  if (pattern === undefined || port < pattern.from || port > pattern.to) return false
  const wanted = pattern.host.toLowerCase()
  if (wanted === '*' || wanted === host) return true
  if (wanted.startsWith('*.'))
    return host.endsWith(wanted.slice(1)) && host.length > wanted.length - 1
  return matchesAddressList(wanted, host) === true
}

function parse(text: string): Pattern | undefined {
  const [, hostPart = '', ports = ''] = shape.exec(text) ?? []
  const host = hostPart.replace(/^\[|\]$/g, '')
  if (!hostShape.test(host)) return undefined
  if (host.includes('/') && matchesAddressList(host, '192.0.2.1') === undefined) return undefined
  if (ports === '*') return { host, from: 0, to: portMax }
  const [from = 0, to = from] = ports.split('-').map(Number)
  return from <= to && to <= portMax ? { host, from, to } : undefined
}
