import { readdir, readlink, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../log.ts'
import { PostgresServerFailed } from './errors.ts'

const goneMs = 60_000

/**
 * Ends what a killed predecessor of ours left running on a cluster, then removes its lock file.
 *
 * Its lock file names a process id that may be anybody's by now (in a container, most likely our
 * own), and the server would refuse to start. Whoever has the cluster as working directory is the
 * truth. The caller holds the lock on the directory, so whatever is found there is an orphan.
 */
export async function clearOrphans(data: string, log: Log): Promise<void> {
  const path = await realpath(data)
  const deadline = performance.now() + goneMs
  for (let pids = await findIn(path); pids.length > 0; pids = await findIn(path)) {
    if (performance.now() > deadline)
      throw new PostgresServerFailed(`is still running as process ${pids.join(', ')}: end it first`)
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
    // It went in the meantime, or is not ours to end: the next look tells.
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
