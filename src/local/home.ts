import { chmod, mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describeUser } from './accounts.ts'
import { HomeUnusable } from './errors.ts'
import { takeLock } from './home-lock.ts'
import { type RunFacts, removeRun, writeRun } from './run-file.ts'
import { describe, resolveTrusted } from './trusted-path.ts'

/** The paths of the files in a home. */
export interface HomePaths {
  readonly home: string
  readonly lock: string
  readonly run: string
  readonly logins: string
  readonly postgres: string
  readonly redis: string
  readonly kek: string
  readonly hostKeys: string
  readonly node: string
  readonly recordings: string
  readonly demo: string
  /** Which heads of audit logs were signed. */
  readonly signedHeads: string
}

/** The remedy for a home of another user, in words. */
const elsewhere = 'set VAULTTERM_HOME to a directory of your own'

/** A home that only this process uses until it releases it. */
export interface Home {
  readonly paths: HomePaths
  /** Writes the run file, with which commands find this server; release() removes it. */
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
    redis: join(home, 'redis'),
    kek: join(home, 'kek'),
    hostKeys: join(home, 'hostkeys'),
    node: join(home, 'node'),
    recordings: join(home, 'recordings'),
    demo: join(home, 'demo'),
    signedHeads: join(home, 'signed-heads'),
  }
}

/**
 * Makes the home if it does not exist, and takes it for this process. Waits at most waitMs for
 * another process that has it. Other processes that find it in use report `what`. Throws
 * HomeUnusable, HomeInUse, FileUntrusted.
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
    await assertHomeTrusted(path)
    await mkdir(path, { recursive: true, mode: 0o700 })
    // In the meantime another user may have made a directory of this name under /tmp.
    const { resolved, mode } = await assertHomeTrusted(path)
    if ((mode & 0o777) !== 0o700) await chmod(resolved, 0o700)
  } catch (err) {
    if (err instanceof HomeUnusable) throw err
    const why = err instanceof Error ? err.message : String(err)
    throw new HomeUnusable(
      path,
      `cannot be made (${why}): set VAULTTERM_HOME to a directory that you can write`,
      err,
    )
  }
}

/**
 * Throws HomeUnusable when another user can change the home, or put something else in its place. All
 * that is read from a home is trusted: its run file names the database, its logins hold passwords.
 */
export async function assertHomeTrusted(
  path: string,
): Promise<{ readonly resolved: string; readonly mode: number }> {
  const refuse = (at: string, why: string) => new HomeUnusable(at, why)
  const resolved = await resolveTrusted(path, refuse, elsewhere)
  if (resolved === undefined) return { resolved: path, mode: 0o700 }
  const facts = await stat(resolved)
  if (!facts.isDirectory()) throw refuse(resolved, 'is not a directory')
  const own = process.geteuid?.() ?? facts.uid
  // It is root's: a plain user cannot use it.
  if (facts.uid !== own) {
    const why = `belongs to another user (${await describe(facts)})`
    throw refuse(
      resolved,
      `${why}: run this as ${await describeUser(facts.uid)}, its owner, or ${elsewhere}`,
    )
  }
  return { resolved, mode: facts.mode }
}
