import { spawn } from 'node:child_process'
import type { Stats } from 'node:fs'
import { lstat, rm, rmdir } from 'node:fs/promises'
import { unlessMissing } from '../errors.ts'

const removeMs = 20_000

/**
 * Removes a directory that may belong to another user by now, and all below it. False when something
 * is left. The directory that holds it must be ours alone.
 *
 * What another user owns is removed as that user: while root removed it, a process of its owner could
 * exchange a directory in it for a link to somewhere else. For the same reason root does not take over
 * what is left.
 */
export async function removeLentTree(path: string): Promise<boolean> {
  const facts = await unlessMissing(lstat(path))
  if (facts === undefined) return true
  const isOwn = facts.uid === (process.geteuid?.() ?? facts.uid)
  if (!isOwn && facts.isDirectory()) await emptyAs(facts, path)
  const removed = isOwn ? rm(path, { recursive: true, force: true }) : rmdir(path)
  return removed.then(
    () => true,
    () => false,
  )
}

/** Other processes of that user can read this one's environment and hold it up. */
function emptyAs({ uid, gid }: Stats, path: string): Promise<void> {
  const script = 'chmod -R u+rwx .; rm -rf -- ./* ./.[!.]* ./..?*'
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', script], {
      // Entered before root is given up, so that the way to it may be closed to the user.
      cwd: path,
      uid,
      gid,
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
      stdio: 'ignore',
      timeout: removeMs,
      killSignal: 'SIGKILL',
    })
    child.once('error', () => resolve())
    child.once('exit', () => resolve())
  })
}
