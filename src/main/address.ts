import { isIPv4 } from 'node:net'
import { formatAddress } from '../address.ts'
import type { Listen } from '../config.ts'

export function formatUrl(listen: Listen): string {
  return `http://${formatAddress(listen)}`
}

/** The address for programs on this machine: a listener on all addresses is reached by loopback. */
export function localAddress({ host, port }: Listen): Listen {
  if (host === '0.0.0.0') return { host: '127.0.0.1', port }
  if (host === '::') return { host: '::1', port }
  return { host, port }
}

/** Whether only programs on this machine can reach a listener. Names other than localhost count as open. */
export function isLoopback({ host }: Listen): boolean {
  const name = host.toLowerCase()
  return name === 'localhost' || name === '::1' || (isIPv4(name) && name.startsWith('127.'))
}
