import { dirname } from 'node:path'
import { type Config, ConfigInvalid, type Datastores, type Listen } from '../../config.ts'
import { readConnectionUrl } from '../../connection-url.ts'
import type { ProtectedDestinations } from './forward-guard.ts'

/** The ports and directories of this process and its datastores. No forward may reach them. */
export function protectedDestinations(
  { home }: Config,
  { database, redisUrl, kek, recordings }: Datastores,
  listeners: readonly Listen[],
): ProtectedDestinations {
  const urls = [...Object.values(database), ...(redisUrl === undefined ? [] : [redisUrl])]
  const datastores = urls.map((url) => {
    const read = readConnectionUrl(url.reveal())
    // Fail closed: without it a forward could reach the datastore.
    if (read === undefined) throw new ConfigInvalid(['the URL of a datastore cannot be read'])
    return read
  })
  return {
    ports: [...listeners.map(({ port }) => port), ...datastores.flatMap(({ ports }) => ports)],
    directories: [
      home,
      ...datastores.flatMap(({ directories }) => directories),
      ...(kek.startsWith('file:') ? [dirname(kek.slice('file:'.length))] : []),
      ...(recordings.startsWith('dir:') ? [recordings.slice('dir:'.length)] : []),
    ],
  }
}
