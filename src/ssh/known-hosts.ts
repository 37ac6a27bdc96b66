import { createHmac, timingSafeEqual } from 'node:crypto'
import { formatPublicKey, type PublicKey, parsePublicKey } from './public-key.ts'

/** A host key, and the hosts that its line names: none in a `.pub` file, which is for any host. */
export interface HostKeyLine {
  readonly key: PublicKey
  /** Patterns as written: names, `[host]:port`, `*` and `?`, `!` in front, or `|1|…|…` for a hashed name. */
  readonly hosts: readonly string[]
}

export interface ParsedHostKeys {
  readonly keys: readonly HostKeyLine[]
  /** One for each line that gave no key, with its number. */
  readonly problems: readonly string[]
}

const linesMax = 10_000
const defaultPort = 22

/**
 * Parses a host's keys as people have them: lines of known_hosts, the output of ssh-keyscan with
 * its comments, or `.pub` files of the host.
 */
export function parseHostKeyLines(text: string): ParsedHostKeys {
  const lines = text.split(/\r?\n/)
  if (lines.length > linesMax) return { keys: [], problems: [`more than ${linesMax} lines`] }
  const keys: HostKeyLine[] = []
  const problems: string[] = []
  for (const [index, line] of lines.entries()) {
    if (/^\s*(#|$)/.test(line)) continue
    const parsed = parseHostKeyLine(line.trim())
    if ('problem' in parsed) problems.push(`line ${index + 1}: ${parsed.problem}`)
    else keys.push(parsed)
  }
  return { keys, problems }
}

/** Whether a line is for a host as it is dialled. A line that names no host is for every host. */
export function matchesHost({ hosts }: HostKeyLine, host: string, port = defaultPort): boolean {
  if (hosts.length === 0) return true
  const name = hostName(host, port)
  const denied = hosts.some((pattern) => pattern.startsWith('!') && matches(pattern.slice(1), name))
  return !denied && hosts.some((pattern) => matches(pattern, name))
}

/** A line for known_hosts. */
export function formatHostKeyLine(
  host: string,
  port: number,
  key: { readonly type: string; readonly blob: Buffer },
): string {
  return `${hostName(host, port)} ${formatPublicKey(key)}`
}

function parseHostKeyLine(line: string): HostKeyLine | { problem: string } {
  if (line.startsWith('@revoked')) return { problem: 'this key is revoked' }
  if (line.startsWith('@')) return { problem: 'a host certificate authority is no host key' }
  const bare = parsePublicKey(line)
  if ('key' in bare) return { key: bare.key, hosts: [] }
  const [, hosts = '', rest = ''] = /^(\S+)\s+(\S+\s+\S.*)$/.exec(line) ?? []
  const named = parsePublicKey(rest)
  // Of a `.pub` line with a fault, the second word is no type: its own problem says more.
  if ('problem' in named) return /^(ssh|ecdsa|sk)-/.test(line) ? bare : named
  return { key: named.key, hosts: hosts.split(',').filter((pattern) => pattern !== '') }
}

function hostName(host: string, port: number): string {
  const name = host.toLowerCase()
  return port === defaultPort ? name : `[${name}]:${port}`
}

function matches(pattern: string, name: string): boolean {
  if (pattern.startsWith('|')) return matchesHash(pattern, name)
  // One step a character and star at most: a pattern that backtracks would take for ever.
  const text = pattern.toLowerCase()
  let at = 0
  let from = 0
  let star = -1
  let starAt = 0
  while (from < name.length) {
    if (text[at] === '*') {
      star = at++
      starAt = from
    } else if (text[at] === '?' || text[at] === name[from]) {
      at++
      from++
    } else if (star >= 0) {
      at = star + 1
      from = ++starAt
    } else return false
  }
  while (text[at] === '*') at++
  return at === text.length
}

/** `|1|salt|HMAC-SHA1 of the name|`: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". */
function matchesHash(pattern: string, name: string): boolean {
  const [, version, salt = '', hash = ''] = pattern.split('|')
  const wanted = Buffer.from(hash, 'base64')
  const found = createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest()
  return version === '1' && wanted.length === found.length && timingSafeEqual(wanted, found)
}
