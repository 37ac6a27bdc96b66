import { readdir, readlink, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { unlessMissing } from '../errors.ts'
import type { Log } from '../log.ts'
import { PostgresServerFailed } from './errors.ts'

const goneMs = 60_000

/**
 * Ends the programs that a killed start left running on a cluster, the server or the one that makes it,
 * then removes the lock file. Does nothing for a directory that is not there.
 *
 * The lock file names a process id that another process may have by now (in a container, most likely
 * our own), and the server would refuse to start. A server is found by its working directory, the
 * cluster. The caller holds the lock on the directory, so every server found there is an orphan.
 */
export async function clearOrphans(data: string, log: Log): Promise<void> {
  const path = await unlessMissing(realpath(data))
  if (path === undefined) return
  const deadline = performance.now() + goneMs
  for (let pids = await findIn(path); pids.length > 0; pids = await findIn(path)) {
    if (performance.now() > deadline)
      throw new PostgresServerFailed(
        `is still running as process ${pids.join(', ')}: stop it first`,
      )
    log.debug({ pids }, 'waiting for an old postgres to end')
    for (const pid of pids) interrupt(pid)
    await delay(50)
  }
  await rm(join(path, 'postmaster.pid'), { force: true })
}

/** Fast shutdown for a postmaster; a backend cancels its statement and ends with its postmaster. */
function interrupt(pid: number): void {
  try {
    process.kill(pid, 'SIGINT')
  } catch {
    // It has ended, or belongs to another user: the next search shows which.
  }
}

async function findIn(path: string): Promise<number[]> {
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const found = await Promise.all(
    names.map(async (name) => {
      try {
        return (await readlink(`/proc/${name}/cwd`)) === path ? [Number(name)] : []
      } catch {
        return [] // Gone, a zombie, or another user's.
      }
    }),
  )
  return found.flat()
}
