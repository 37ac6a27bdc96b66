import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { CrossOriginRefused, HostUnknown } from './errors.ts'

/**
 * Refuses a request for a host that we are not: a browser that was led here under a stranger's name
 * would treat our pages as the stranger's.
 *
 * We are the host of the public URL, and the very address and port that the connection came in on,
 * which a name that an attacker controls can never spell.
 */
export function checkHost(request: FastifyRequest, publicHosts: readonly string[]): void {
  const named = request.headers.host?.toLowerCase() ?? ''
  // A request must not have a host in both an absolute target and a second header.
  const hosts = request.raw.rawHeaders.filter(
    (name, index) => index % 2 === 0 && name.toLowerCase() === 'host',
  )
  const plainTarget = request.raw.url?.startsWith('/') ?? false
  if (hosts.length !== 1 || !plainTarget || !isOurs(named, request, publicHosts)) {
    throw new HostUnknown()
  }
}

function isOurs(host: string, { socket }: FastifyRequest, publicHosts: readonly string[]): boolean {
  if (publicHosts.includes(host)) return true
  const address = socket.localAddress?.replace(/^::ffff:/, '')
  if (address === undefined || isIP(address) === 0) return false
  const names = [isIP(address) === 6 ? `[${address}]` : address]
  if (address === '::1' || address.startsWith('127.')) names.push('localhost')
  const port = socket.localPort
  return names.some((name) => host === `${name}:${port}` || (port === 80 && host === name))
}

/**
 * Refuses a request that changes something and was made by a page of another origin.
 *
 * Browsers state the origin of a request in Sec-Fetch-Site or in Origin. A client that sends
 * neither is not a browser, and its cookies were given to it on purpose.
 */
export function checkOrigin(request: FastifyRequest): void {
  if (request.method === 'GET' || request.method === 'HEAD') return
  const site = request.headers['sec-fetch-site']
  if (site !== undefined) {
    if (site === 'same-origin' || site === 'none') return
    throw new CrossOriginRefused()
  }
  const { origin } = request.headers
  // The host has been checked, and our pages are on one port only.
  if (origin !== undefined && hostOf(origin) !== request.headers.host?.toLowerCase()) {
    throw new CrossOriginRefused()
  }
}

/** Host and port of a URL, as the Host header has them. */
export function hostOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).host : undefined
}

/** The origin that a browser shows for the request. Its host has been checked. */
export function originOf(request: FastifyRequest): string {
  const { publicUrl } = request.server
  const host = request.headers.host?.toLowerCase() ?? ''
  if (publicUrl !== undefined && hostOf(publicUrl) === host) return new URL(publicUrl).origin
  return `http://${host}`
}

/**
 * Where the browser must go for passkeys: without a public URL people open the listener by its address, and
 * browsers tie a passkey to a name. Undefined if the request came by one.
 */
export function passkeyOrigin(request: FastifyRequest): string | undefined {
  const { publicUrl } = request.server
  const { hostname, port } = new URL(originOf(request))
  if (publicUrl !== undefined || !['127.0.0.1', '[::1]'].includes(hostname)) return undefined
  return `http://localhost${port === '' ? '' : `:${port}`}`
}
