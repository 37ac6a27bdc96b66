import { appendFile, chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const list = 'scratch'
/** A socket's path must fit into 107 bytes, so a deep TMPDIR does not serve. */
const baseMaxBytes = 60

/**
 * Makes a directory outside `directory`, for what cannot lie in it. Where it is stands written in
 * `directory` before anything is put there, so that the next start removes it when this one cannot.
 */
export async function createScratch(directory: string): Promise<string> {
  const base = Buffer.byteLength(tmpdir()) > baseMaxBytes ? '/tmp' : tmpdir()
  const scratch = await mkdtemp(join(base, 'vaultterm-'))
  await appendFile(join(directory, list), `${scratch}\n`, { mode: 0o600 })
  // Others may pass through to what is theirs, and may not look around.
  await chmod(scratch, 0o711)
  return scratch
}

/** Removes every scratch directory that was made for `directory`. */
export async function removeScratch(directory: string): Promise<void> {
  const path = join(directory, list)
  for (const scratch of (await readList(path)).split('\n'))
    if (/\/vaultterm-\w{6}$/.test(scratch)) await rm(scratch, { recursive: true, force: true })
  await rm(path, { force: true })
}

async function readList(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return ''
    throw err
  }
}
