/** `HOST:PORT`, with an IPv6 address in brackets. */
export function formatAddress({
  host,
  port,
}: {
  readonly host: string
  readonly port: number
}): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
