import { dirname } from 'node:path'

/** Where the connection string of a datastore leads: as the clients of Postgres and Redis read it. */
export interface ConnectionPlaces {
  readonly ports: readonly number[]
  /** Absolute paths of the directories that hold its sockets. */
  readonly directories: readonly string[]
}

const defaultPorts: { readonly [protocol: string]: number } = {
  'postgres:': 5432,
  'postgresql:': 5432,
  'redis:': 6379,
  'rediss:': 6379,
}

/**
 * Reads a connection string; undefined when it is none. It never throws: the error of `new URL()` holds the
 * whole text, and with it the password.
 *
 * Undefined also for one whose password has a reserved character as it is: `u:12/34@host` is the host `u` at
 * the port 12, and the rest of the password would be told as the name of a database.
 */
export function readConnectionUrl(text: string): ConnectionPlaces | undefined {
  const url = parse(text)
  if (url === null) return undefined
  const { protocol, port, hostname, pathname, searchParams } = url
  const host = decode(hostname)
  const path = decode(pathname)
  if (host === undefined || path === undefined) return undefined
  if (decode(url.username) === undefined || decode(url.password) === undefined) return undefined
  if (protocol === 'unix:') return { ports: [], directories: [dirname(path)] }
  const isLoggedIn = url.username !== '' || url.password !== ''
  const isCut = !isLoggedIn && text.slice(text.indexOf('//') + 2).includes('@')
  if (isCut || url.hash !== '') return undefined
  const given = searchParams.getAll('port').map(Number)
  return {
    ports: [Number(port) || (defaultPorts[protocol] ?? 0), ...given],
    directories: [
      host,
      ...searchParams.getAll('host'),
      ...searchParams.getAll('path').map((socket) => dirname(socket)),
    ].filter((one) => one.startsWith('/')),
  }
}

/** The same for people to read, without login, password and query. */
export function showConnectionUrl(text: string): string {
  const url = parse(text)
  if (url === null || readConnectionUrl(text) === undefined) return '…'
  const login = url.username === '' && url.password === '' ? '' : '…@'
  return `${url.protocol}//${login}${url.host}${url.pathname}`
}

/** A Postgres URL may have a login and no host, which the `host` in its query gives. */
function parse(text: string): URL | null {
  return URL.parse(text) ?? URL.parse(text.replace('@/', '@localhost/'))
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
