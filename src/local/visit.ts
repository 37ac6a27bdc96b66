import { setTimeout as delay } from 'node:timers/promises'
import type { DatabaseUrls } from '../config.ts'
import type { Log } from '../log.ts'
import { HomeInUse, HomeMissing } from './errors.ts'
import { assertHomeTrusted, claimHome, type Home, homePaths } from './home.ts'
import { findHolder } from './home-lock.ts'
import { hasLocalDatabase, startLocalDatabase } from './local-database.ts'
import { type Run, readRun } from './run-file.ts'

/** A home that a command works on, whether its `up` runs or not. */
export interface Visit {
  /** The run file of the running `up`; undefined when none runs, and this process runs the database. */
  readonly run: Run | undefined
  readonly database: DatabaseUrls
  /** Stops the database, if this visit started it. */
  close(): Promise<void>
}

/** An `up` may be starting, or another command may be running: each takes seconds. */
const waitMs = 60_000

/**
 * Opens a home for a command: with the database of the `up` that runs there, or else with the
 * embedded database, started for as long as the visit lasts. Throws HomeUnusable, HomeMissing,
 * HomeInUse, FileUntrusted, PostgresServerFailed.
 */
export async function visitHome(options: {
  readonly path: string
  /** The command, as other processes report it when they find the home in use. */
  readonly what: string
  readonly migrations: string
  readonly log: Log
}): Promise<Visit> {
  const { path, what, migrations, log } = options
  const paths = homePaths(path)
  await assertHomeTrusted(path)
  if (!(await hasLocalDatabase(paths))) throw new HomeMissing(path)
  const deadline = performance.now() + waitMs
  for (;;) {
    const run = await readRun(paths.run)
    if (run !== undefined) return { run, database: run.database, close: async () => undefined }
    const home = await tryClaim(path, what)
    if (home !== undefined) return visitStopped(home, migrations, log)
    if (performance.now() > deadline) throw new HomeInUse(path, await findHolder(paths.lock))
    await delay(50)
  }
}

async function tryClaim(path: string, what: string): Promise<Home | undefined> {
  try {
    return await claimHome(path, { what })
  } catch (err) {
    if (err instanceof HomeInUse) return undefined
    throw err
  }
}

async function visitStopped(home: Home, migrations: string, log: Log): Promise<Visit> {
  try {
    const database = await startLocalDatabase({ home, migrations, log })
    return {
      run: undefined,
      database: database.urls,
      async close() {
        await database.server.stop()
        await home.release()
      },
    }
  } catch (err) {
    await home.release()
    throw err
  }
}
