import { type Config, type DatabaseUrls, type Datastores, databaseUrls } from '../config.ts'
import { queueTables } from '../jobs/index.ts'
import {
  type Home,
  type HomePaths,
  keepKekFile,
  keepRunning,
  resolveTrusted,
  startLocalDatabase,
  startRedis,
} from '../local/index.ts'
import type { Log } from '../log.ts'
import { migrate } from '../postgres/index.ts'
import { migrations } from '../product.ts'
import { Secret } from '../secret.ts'

/** The datastores of `up`: those that the settings name, and its own in the home for the rest. */
export async function startDatastores(
  config: Config,
  {
    home,
    log,
    closing,
  }: {
    readonly home: Home
    readonly log: Log
    readonly closing: AsyncDisposableStack
  },
): Promise<Datastores> {
  if (config.given.kek === undefined) await keepKekFile(home.paths.kek)
  const [database, redisUrl] = await Promise.allSettled([
    startDatabase(config, { home, log, closing }),
    startCoordination(config, { home, log, closing }),
  ])
  // Both have settled, so closing holds everything that was started.
  if (database.status === 'rejected') throw database.reason
  if (redisUrl.status === 'rejected') throw redisUrl.reason
  return datastoresIn(config, home.paths, database.value, redisUrl.value)
}

/** The datastores of the settings, with the files of the home for those that are not set. */
export function datastoresIn(
  { given }: Config,
  paths: HomePaths,
  database: DatabaseUrls,
  redisUrl: Secret<string> | undefined,
): Datastores {
  return {
    database,
    redisUrl: given.redisUrl === undefined ? redisUrl : new Secret(given.redisUrl),
    kek: given.kek ?? `file:${paths.kek}`,
    recordings: given.recordings ?? `dir:${paths.recordings}`,
  }
}

/**
 * Throws FileUntrusted when another user can change the key-encryption key or the recordings, or put
 * others in their place.
 */
export async function assertFilesTrusted({ kek, recordings }: Datastores): Promise<void> {
  if (kek.startsWith('file:')) await resolveTrusted(kek.slice('file:'.length))
  if (recordings.startsWith('dir:')) await resolveTrusted(recordings.slice('dir:'.length))
}

async function startDatabase(
  { given }: Config,
  {
    home,
    log,
    closing,
  }: {
    readonly home: Home
    readonly log: Log
    readonly closing: AsyncDisposableStack
  },
): Promise<DatabaseUrls> {
  if (given.databaseUrl !== undefined) {
    const urls = databaseUrls(given, given.databaseUrl)
    await migrate({ url: urls.owner, directory: migrations, sources: [queueTables], log })
    return urls
  }
  const { urls, server } = await startLocalDatabase({ home, migrations, log })
  closing.defer(keepRunning('Postgres', server, log))
  return urls
}

async function startCoordination(
  { given }: Config,
  {
    home,
    log,
    closing,
  }: {
    readonly home: Home
    readonly log: Log
    readonly closing: AsyncDisposableStack
  },
): Promise<Secret<string> | undefined> {
  if (given.redisUrl !== undefined) return undefined
  const redis = await startRedis({ directory: home.paths.redis, log })
  if (redis !== undefined) closing.defer(keepRunning('Redis', redis, log))
  return redis?.url
}
