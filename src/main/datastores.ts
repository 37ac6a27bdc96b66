import { migrations } from '../app.ts'
import { type Config, type DatabaseUrls, type Datastores, databaseUrls } from '../config.ts'
import {
  type Home,
  type HomePaths,
  keepKekFile,
  startLocalDatabase,
  startRedis,
} from '../local/index.ts'
import { background, type Log } from '../log.ts'
import { migrate } from '../postgres/index.ts'
import { Secret } from '../secret.ts'

/** What `up` runs on: what the settings name, and for the rest what it makes and runs in its home. */
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
    startCoordination(config, { log, closing }),
  ])
  // Both have settled, so that whatever was started is in closing.
  if (database.status === 'rejected') throw database.reason
  if (redisUrl.status === 'rejected') throw redisUrl.reason
  return datastoresIn(config, home.paths, database.value, redisUrl.value)
}

/** The settings' datastores, with the home's files in place of what is not given. */
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
    await migrate({ url: urls.owner, directory: migrations, log })
    return urls
  }
  const database = await startLocalDatabase({ home, migrations, log })
  let stopping = false
  const ended = database.exited.then(() => {
    if (!stopping)
      log.error('the embedded Postgres ended: nothing works until `up` is started anew')
  })
  background(ended, log, 'the word that the embedded Postgres ended')
  closing.defer(() => {
    stopping = true
    return database.stop()
  })
  return database.urls
}

async function startCoordination(
  { given }: Config,
  { log, closing }: { readonly log: Log; readonly closing: AsyncDisposableStack },
): Promise<Secret<string> | undefined> {
  if (given.redisUrl !== undefined) return undefined
  const redis = await startRedis({ log })
  if (redis !== undefined) closing.defer(() => redis.stop())
  return redis?.url
}
