import { randomUUID } from 'node:crypto'
import { lstat, rename, rm, writeFile } from 'node:fs/promises'

/**
 * Puts bytes into a file that others read at any time: they find the old bytes or the new ones, never a part.
 * A link in its place is replaced, not followed. A pipe or a device is written as it is.
 */
export async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (found !== undefined && !found.isFile() && !found.isSymbolicLink()) {
    await writeFile(path, bytes)
    return
  }
  const draft = `${path}.${randomUUID()}.new`
  try {
    await writeFile(draft, bytes, { flag: 'wx', flush: true })
    await rename(draft, path)
  } catch (err) {
    await rm(draft, { force: true })
    throw err
  }
}
