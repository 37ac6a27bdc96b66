import { formatIpAddress, parseIpAddress, unmapIpv4 } from './ip-address.ts'
import { WireError } from './wire.ts'

const hostLengthMax = 255
/** Letters, digits and the other characters of addresses. Resolvers look up no other names. */
const hostPattern = /^[A-Za-z0-9_.:%-]*$/

/**
 * The one spelling of a host that a client asks for: an address as `formatIpAddress` writes it, or a name
 * in lower case without the dot at its end. This value is judged, put on record and sent to the target,
 * so that no two programs read different hosts in the same bytes. Throws WireError.
 */
export function canonicalHost(text: string): string {
  if (text.length > hostLengthMax) throw new WireError('a host name is too long')
  if (!hostPattern.test(text))
    throw new WireError('a host name has characters that are not allowed in it')
  // The dot at the end of an absolute name. Without it, the rest may read as an address.
  const bare = text.replace(/\.$/, '')
  if (text !== '' && bare.split('.').includes(''))
    throw new WireError('a host name has an empty part')
  const address = parseIpAddress(bare)
  if (address !== undefined) return formatIpAddress(unmapIpv4(address))
  if (bare.includes(':') || bare.includes('%')) throw new WireError('an address is malformed')
  return bare.toLowerCase()
}
