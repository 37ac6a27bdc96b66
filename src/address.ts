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

/**
 * A customer of a provider has a whole IPv6 /64, so a /64 counts as one source, like one IPv4
 * address.
 */
export function sourceOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped?.[1] !== undefined) return mapped[1]
  if (!address.includes(':')) return address
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const gap = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length)
  const groups = [...before, ...Array.from({ length: gap }, () => '0'), ...after]
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group || '0', 16).toString(16))
    .join(':')}::/64`
}

/**
 * The networks around a source, the widest first, and the source last. Whoever has many IPv4 addresses often
 * has neighbours; a customer's IPv6 network is a /48, and a small provider's a /32.
 */
export function networksOf(source: string): readonly string[] {
  if (!source.includes(':')) return [`${source.split('.').slice(0, 3).join('.')}.0/24`, source]
  const groups = source.split(':')
  return [`${groups.slice(0, 2).join(':')}::/32`, `${groups.slice(0, 3).join(':')}::/48`, source]
}
