import type { Listen } from '../config.ts'

/** `HOST:PORT`, as it is typed. */
export function formatAddress({ host, port }: Listen): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

export function formatUrl(listen: Listen): string {
  return `http://${formatAddress(listen)}`
}

/** Where a program on this machine reaches a listener: one for every address has none of its own. */
export function localAddress({ host, port }: Listen): Listen {
  if (host === '0.0.0.0') return { host: '127.0.0.1', port }
  if (host === '::') return { host: '::1', port }
  return { host, port }
}
