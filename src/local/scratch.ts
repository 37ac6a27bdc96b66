import { chmod, lstat, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Log } from '../log.ts'
import { FileUntrusted } from './errors.ts'
import { removeLentTree } from './lent-tree.ts'
import { readIfThere, writePrivateFile } from './private-file.ts'
import { resolveTrusted } from './trusted-path.ts'

const list = 'scratch'
/** A socket's path must fit into 107 bytes, so a deep TMPDIR does not serve. */
const baseMaxBytes = 60
/** Directories of a scratch directory that another user may own. */
export const scratchSocket = 's'
export const scratchHome = 'home'

/** A line of the list: a path, and which directory it was. */
const linePattern = /^(\/.*vaultterm-\w{6})(?: (\d+) (\d+))?$/

/**
 * Makes a directory outside `directory`, for files that cannot lie in it. It is noted in `directory`
 * before anything is put there, so that the next start removes it when this one cannot.
 */
export async function createScratch(directory: string): Promise<string> {
  const base = Buffer.byteLength(tmpdir()) > baseMaxBytes ? '/tmp' : tmpdir()
  const scratch = await mkdtemp(join(base, 'vaultterm-'))
  // The directory exists now; until here another user must not be able to exchange it.
  await resolveTrusted(scratch)
  const { dev, ino } = await lstat(scratch, { bigint: true })
  const path = join(directory, list)
  await writePrivateFile(path, `${(await readIfThere(path)) ?? ''}${scratch} ${dev} ${ino}\n`)
  // Others may pass through to their own files, and may not look around.
  await chmod(scratch, 0o711)
  return scratch
}

/**
 * Removes every scratch directory that was made for `directory`. After a restart of the machine /tmp
 * is empty, and another user may have taken the name: what is not the directory that we made stays.
 */
export async function removeScratch(directory: string, log: Log): Promise<void> {
  const path = join(directory, list)
  const left: string[] = []
  for (const line of ((await readIfThere(path)) ?? '').split('\n')) {
    const [, scratch, device, inode] = linePattern.exec(line) ?? []
    if (scratch === undefined) continue
    const found = await findOwn(scratch, `${device} ${inode}`)
    if (found === 'gone' || (found === 'ours' && (await removeOwn(scratch)))) continue
    // A process of the other user may still be at work there: the next start tries again.
    if (found === 'ours') left.push(`${line}\n`)
    const why = found === 'ours' ? 'not all of it could be removed' : found
    log.warn({ scratch, why }, 'a directory that an earlier start noted stays: look at it')
  }
  if (left.length > 0) await writePrivateFile(path, left.join(''))
  else await rm(path, { force: true })
}

/**
 * Whether the directory is the one we made; otherwise why not. In a sticky directory nobody else can
 * exchange ours, so the answer stays true.
 */
async function findOwn(scratch: string, made: string): Promise<'gone' | 'ours' | (string & {})> {
  try {
    if ((await resolveTrusted(scratch)) === undefined) return 'gone'
  } catch (err) {
    if (err instanceof FileUntrusted) return err.why
    throw err
  }
  const facts = await lstat(scratch, { bigint: true })
  if (!facts.isDirectory()) return 'is not a directory'
  if (facts.uid !== BigInt(process.geteuid?.() ?? facts.uid)) return 'belongs to another user'
  return `${facts.dev} ${facts.ino}` === made ? 'ours' : 'is another one than we made'
}

async function removeOwn(scratch: string): Promise<boolean> {
  // From here on no other user can enter, except for processes that are there already.
  await chmod(scratch, 0o700)
  for (const name of [scratchSocket, scratchHome]) {
    if (!(await removeLentTree(join(scratch, name)))) return false
  }
  return removeLentTree(scratch)
}
