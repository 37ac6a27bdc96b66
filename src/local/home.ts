import { chmod, mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { HomeUnusable } from './errors.ts'
import { takeLock } from './home-lock.ts'
import { type RunFacts, removeRun, writeRun } from './run-file.ts'

/** Where things lie in a home. */
export interface HomePaths {
  readonly home: string
  readonly lock: string
  readonly run: string
  readonly logins: string
  readonly postgres: string
  readonly kek: string
  readonly hostKeys: string
  readonly node: string
  readonly recordings: string
  readonly demo: string
  /** Which heads of audit logs were signed. */
  readonly signedHeads: string
}

/** A home that this process holds, and no other does until it is released. */
export interface Home {
  readonly paths: HomePaths
  /** Lets commands in other processes find what runs here; release() takes it back. */
  announce(facts: RunFacts): Promise<void>
  release(): Promise<void>
}

export function homePaths(home: string): HomePaths {
  return {
    home,
    lock: join(home, 'lock'),
    run: join(home, 'run.json'),
    logins: join(home, 'logins.json'),
    postgres: join(home, 'postgres'),
    kek: join(home, 'kek'),
    hostKeys: join(home, 'hostkeys'),
    node: join(home, 'node'),
    recordings: join(home, 'recordings'),
    demo: join(home, 'demo'),
    signedHeads: join(home, 'signed-heads'),
  }
}

/**
 * Makes the home where there is none, and takes it for this process. `what` is for whoever finds it
 * taken. Waits at most waitMs for the one that has it; what a killed one left behind is no obstacle.
 */
export async function claimHome(
  path: string,
  { what, waitMs = 0 }: { readonly what: string; readonly waitMs?: number },
): Promise<Home> {
  const paths = homePaths(path)
  await makePrivate(path)
  const unlock = await takeLock(paths.lock, { what, waitMs })
  await removeRun(paths.run)
  return {
    paths,
    announce: (facts) => writeRun(paths.run, facts),
    async release() {
      await removeRun(paths.run)
      await unlock()
    },
  }
}

async function makePrivate(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    const { uid, mode } = await stat(path)
    const own = process.getuid?.() ?? uid
    if (uid !== own && own !== 0)
      throw new HomeUnusable(path, `belongs to another user (id ${uid}): use one of your own`)
    // Not ours to close: others work there, and could put theirs in the place of ours.
    if ((mode & 0o022) !== 0)
      throw new HomeUnusable(path, 'is writable by others: chmod 700 it, or use another directory')
    if ((mode & 0o777) !== 0o700) await chmod(path, 0o700)
  } catch (err) {
    if (err instanceof HomeUnusable) throw err
    const why = err instanceof Error ? err.message : String(err)
    throw new HomeUnusable(path, `cannot be used: ${why}`, err)
  }
}
