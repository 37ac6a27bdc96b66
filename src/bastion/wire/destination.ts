import { Reader, WireError } from '../../ssh/index.ts'

/** The address to which a client asks to open a `direct-tcpip` channel. */
export interface Destination {
  readonly host: string
  /** 0 to 65535. */
  readonly port: number
}

const hostLengthMax = 255
const portMax = 65_535

/** Reads the payload of a `direct-tcpip` open: RFC 4254 section 7.2. Throws WireError. */
export function readDestination(payload: Buffer): Destination {
  const reader = new Reader(payload)
  const host = reader.text()
  const port = reader.u32()
  // The originator address and port are claims of the client about its own side.
  reader.string()
  reader.u32()
  reader.end()
  if (host.length > hostLengthMax || port > portMax) throw new WireError('no place to go to')
  return { host, port }
}
