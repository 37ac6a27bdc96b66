import { dirname } from 'node:path'
import type { Config, Datastores, Listen } from '../../config.ts'
import type { ProtectedDestinations } from './forward-guard.ts'

const defaultPorts: { readonly [protocol: string]: number } = {
  'postgres:': 5432,
  'postgresql:': 5432,
  'redis:': 6379,
  'rediss:': 6379,
}

/** The ports and directories of this process and its datastores. No forward may reach them. */
export function protectedDestinations(
  { home }: Config,
  { database, redisUrl, kek, recordings }: Datastores,
  listeners: readonly Listen[],
): ProtectedDestinations {
  const urls = [...Object.values(database), ...(redisUrl === undefined ? [] : [redisUrl])].map(
    (url) => new URL(url.reveal()),
  )
  return {
    ports: [
      ...listeners.map(({ port }) => port),
      ...urls.map(({ protocol, port }) => Number(port) || (defaultPorts[protocol] ?? 0)),
    ],
    directories: [
      home,
      ...urls
        .map(({ hostname }) => decodeURIComponent(hostname))
        .filter((host) => host.startsWith('/')),
      ...urls
        .filter(({ protocol }) => protocol === 'unix:')
        .map(({ pathname }) => dirname(decodeURIComponent(pathname))),
      ...(kek.startsWith('file:') ? [dirname(kek.slice('file:'.length))] : []),
      ...(recordings.startsWith('dir:') ? [recordings.slice('dir:'.length)] : []),
    ],
  }
}
