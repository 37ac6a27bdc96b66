import { execFile } from 'node:child_process'
import { chmod, lchown, lstat, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readIfThere, writePrivateFile } from './private-file.ts'
import { resolveTrusted } from './trusted-path.ts'

const list = 'scratch'
/** A socket's path must fit into 107 bytes, so a deep TMPDIR does not serve. */
const baseMaxBytes = 60
/** Directories of a scratch directory that another user may own. */
export const scratchSocket = 's'
export const scratchHome = 'home'

/**
 * Makes a directory outside `directory`, for files that cannot lie in it. Its path is written in
 * `directory` before anything is put there, so that the next start removes it when this one cannot.
 */
export async function createScratch(directory: string): Promise<string> {
  const base = Buffer.byteLength(tmpdir()) > baseMaxBytes ? '/tmp' : tmpdir()
  const scratch = await mkdtemp(join(base, 'vaultterm-'))
  // The directory exists now; until here another user must not be able to exchange it.
  await resolveTrusted(scratch)
  const path = join(directory, list)
  await writePrivateFile(path, `${(await readIfThere(path)) ?? ''}${scratch}\n`)
  // Others may pass through to their own files, and may not look around.
  await chmod(scratch, 0o711)
  return scratch
}

/** Removes every scratch directory that was made for `directory`. */
export async function removeScratch(directory: string): Promise<void> {
  const path = join(directory, list)
  for (const scratch of ((await readIfThere(path)) ?? '').split('\n')) {
    if (!/\/vaultterm-\w{6}$/.test(scratch)) continue
    await removeLent(join(scratch, scratchSocket))
    await removeLent(join(scratch, scratchHome))
    await rm(scratch, { recursive: true, force: true }).catch(() => undefined)
  }
  await rm(path, { force: true })
}

/**
 * Empties a directory that another user owns, as that user: while root removed the tree, its owner
 * could exchange a directory in it for a link to somewhere else.
 */
async function removeLent(path: string): Promise<void> {
  const facts = await lstat(path).catch(() => undefined)
  const own = process.getuid?.() ?? 0
  if (facts === undefined || facts.uid === own) return
  const { uid, gid } = facts
  const script = 'rm -rf -- ./* ./.[!.]* ./..?*'
  await promisify(execFile)('/bin/sh', ['-c', script], {
    cwd: path,
    uid,
    gid,
    timeout: 60_000,
  }).catch(() => undefined)
  // From here on no other user can add to it.
  await lchown(path, own, own)
}
