import { dirname } from 'node:path'
import { type Config, ConfigInvalid, type Datastores, type Listen } from '../../config.ts'
import { readConnectionUrl } from '../../connection-url.ts'
import type { OwnPlaces } from './forward-guard.ts'

/** Where this process listens, and where what it stands on does: no forward may lead there. */
export function ownPlaces(
  { home }: Config,
  { database, redisUrl, kek, recordings }: Datastores,
  listeners: readonly Listen[],
): OwnPlaces {
  const urls = [...Object.values(database), ...(redisUrl === undefined ? [] : [redisUrl])]
  const places = urls.map((url) => {
    const read = readConnectionUrl(url.reveal())
    // Fail closed: without it a forward could lead to the datastore.
    if (read === undefined) throw new ConfigInvalid(['the URL of a datastore cannot be read'])
    return read
  })
  return {
    ports: [...listeners.map(({ port }) => port), ...places.flatMap(({ ports }) => ports)],
    directories: [
      home,
      ...places.flatMap(({ directories }) => directories),
      ...(kek.startsWith('file:') ? [dirname(kek.slice('file:'.length))] : []),
      ...(recordings.startsWith('dir:') ? [recordings.slice('dir:'.length)] : []),
    ],
  }
}
