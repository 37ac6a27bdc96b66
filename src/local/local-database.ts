import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { DatabaseUrls } from '../config.ts'
import { queueTables } from '../jobs/index.ts'
import type { Log } from '../log.ts'
import { migrate } from '../postgres/index.ts'
import type { Home, HomePaths } from './home.ts'
import {
  createLogins,
  databaseName,
  grantRoles,
  keepPasswords,
  logins,
  refuseLargeObjects,
} from './logins.ts'
import { type PostgresServer, startPostgres } from './postgres-server.ts'

/** The embedded database of a home: migrated, and with a login for each role. */
export interface LocalDatabase {
  readonly urls: DatabaseUrls
  readonly server: PostgresServer
}

/** Starts the home's Postgres; the first start makes its content. Call it from the main thread. */
export async function startLocalDatabase(options: {
  readonly home: Home
  /** The directory of the migrations. */
  readonly migrations: string
  readonly log: Log
}): Promise<LocalDatabase> {
  const { home, migrations, log } = options
  const passwords = await keepPasswords(home.paths.logins)
  const server = await startPostgres({
    directory: home.paths.postgres,
    superuserPassword: passwords.superuser,
    log,
  })
  try {
    const url = (login: keyof typeof logins) =>
      server.url({
        login: logins[login].name,
        password: passwords[login],
        database: databaseName,
      })
    const urls = {
      owner: url('owner'),
      app: url('app'),
      bastion: url('bastion'),
      jobs: url('jobs'),
    }
    await createLogins(server.superuserUrl, passwords)
    await refuseLargeObjects(server.superuserUrlOf(databaseName))
    await migrate({ url: urls.owner, directory: migrations, sources: [queueTables], log })
    await grantRoles(server.superuserUrl)
    return { urls, server }
  } catch (err) {
    await server.stop()
    throw err
  }
}

/** Whether a home holds a database. */
export function hasLocalDatabase(paths: HomePaths): Promise<boolean> {
  return access(join(paths.postgres, 'data', 'PG_VERSION')).then(
    () => true,
    () => false,
  )
}
