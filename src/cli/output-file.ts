import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, lstat, open, rename, rm, writeFile } from 'node:fs/promises'
import { errorCode } from '../errors.ts'

/**
 * Puts bytes into a file that others read at any time: they find the old bytes or the new ones, never a part.
 * A link in its place is replaced, not followed. A pipe or a device is written as it is.
 */
export async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const special = await openSpecial(path)
  if (special !== undefined) {
    await special.writeFile(bytes).finally(() => special.close())
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

/** A pipe or a device. Somebody may put another file or a link there meanwhile, so the opened one counts. */
async function openSpecial(path: string): Promise<FileHandle | undefined> {
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined || found.isFile() || found.isSymbolicLink()) return undefined
  try {
    const opened = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW)
    if (!(await opened.stat()).isFile()) return opened
    await opened.close()
    return undefined
  } catch (err) {
    if (errorCode(err) === 'ELOOP') return undefined
    throw err
  }
}
