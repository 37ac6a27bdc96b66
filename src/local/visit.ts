import { setTimeout as delay } from 'node:timers/promises'
import type { DatabaseUrls } from '../config.ts'
import type { Log } from '../log.ts'
import { HomeInUse, HomeMissing } from './errors.ts'
import { claimHome, type Home, homePaths } from './home.ts'
import { findHolder } from './home-lock.ts'
import { hasLocalDatabase, startLocalDatabase } from './local-database.ts'
import { type Run, readRun } from './run-file.ts'

/** A home as a command sees it, whether its `up` runs or not. */
export interface Visit {
  /** What the running `up` said of itself; undefined when none runs, and we run the database. */
  readonly run: Run | undefined
  readonly database: DatabaseUrls
  /** Stops what this visit started. */
  close(): Promise<void>
}

/** An `up` may be at its start, and another command may be at work: each takes seconds. */
const waitMs = 60_000

/**
 * Opens a home for a command: with the database of the `up` that runs there, or else with the
 * embedded database started for as long as the visit lasts.
 */
export async function visitHome(options: {
  readonly path: string
  /** For whoever finds the home taken meanwhile: `vaultterm tenant list`. */
  readonly what: string
  readonly migrations: string
  readonly log: Log
}): Promise<Visit> {
  const { path, what, migrations, log } = options
  const paths = homePaths(path)
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
        await database.stop()
        await home.release()
      },
    }
  } catch (err) {
    await home.release()
    throw err
  }
}
