import { canonicalHost, Reader, WireError, Writer } from '../../ssh/index.ts'

/** The address to which a client asks to open a `direct-tcpip` channel. */
export interface Destination {
  /** As `canonicalHost` writes it. */
  readonly host: string
  /** 0 to 65535. */
  readonly port: number
}

/** The address that a client gives as the origin of a forwarded connection. It is only a claim. */
interface Originator {
  readonly host: string
  readonly port: number
}

const portMax = 65_535
const pathBytesMax = 1024
const originatorPattern = /^[A-Za-z0-9_.:%-]{0,255}$/

/** Reads the payload of a `direct-tcpip` open: RFC 4254 section 7.2. Throws WireError. */
export function readDestination(payload: Buffer): Destination {
  const reader = new Reader(payload)
  const host = reader.text()
  const port = reader.u32()
  readOriginator(reader)
  if (port > portMax) throw new WireError('a port is larger than 65535')
  if (host === '') throw new WireError('a destination has no host')
  return { host: canonicalHost(host), port }
}

/** The payload of a `direct-tcpip` open with this destination in place of the client's own spelling. */
export function writeDestination({ host, port }: Destination, payload: Buffer): Buffer {
  const reader = new Reader(payload)
  reader.string()
  reader.u32()
  const originator = readOriginator(reader)
  return new Writer().text(host).u32(port).text(originator.host).u32(originator.port).build()
}

/** Reads the path in a `direct-streamlocal@openssh.com` open: OpenSSH's PROTOCOL, section 2.4. Throws WireError. */
export function readSocketPath(payload: Buffer): string {
  const reader = new Reader(payload)
  const path = reader.text()
  // Reserved fields, which OpenSSH fills like the originator of a direct-tcpip open.
  reader.string()
  reader.u32()
  reader.end()
  return checkedPath(path)
}

/** The payload of a `direct-streamlocal@openssh.com` open for this path. */
export function writeSocketPath(path: string): Buffer {
  return new Writer().text(path).text('').u32(0).build()
}

/** A path that a target's kernel reads unchanged. Throws WireError. */
export function checkedPath(path: string): string {
  if (path === '' || Buffer.byteLength(path) > pathBytesMax) {
    throw new WireError(`a socket path is empty or longer than ${pathBytesMax} bytes`)
  }
  if (hasControls(path)) throw new WireError('a socket path holds control characters')
  return path
}

/** Whether a text can be an address to listen at: RFC 4254 section 7.1 adds the empty one, OpenSSH `*`. */
export function isListenHost(text: string): boolean {
  return /^(\*|[A-Za-z0-9_.:%-]{0,255})$/.test(text)
}

function hasControls(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it searches for control characters.
  return /[\u0000-\u001f\u007f]/.test(text)
}

/** No decision depends on it. A value that a log cannot show is left out. */
function readOriginator(reader: Reader): Originator {
  const host = reader.string().toString('latin1')
  const port = reader.u32()
  reader.end()
  return originatorPattern.test(host) ? { host, port } : { host: '', port }
}
