import { constants } from 'node:fs'
import { type FileHandle, lchown, open, readdir } from 'node:fs/promises'
import { FileUntrusted } from './errors.ts'

const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * Gives a directory and all below it to a user. Only root can do this.
 *
 * Each name is opened below its open directory and changed by its descriptor, so that no link and
 * no exchanged directory can lead to a file elsewhere: the new owner may be active there already.
 */
export async function giveTree(path: string, uid: number): Promise<void> {
  const top = await open(path, flags | constants.O_DIRECTORY)
  try {
    // The top goes last: while it has its old owner, the work is not done.
    if ((await top.stat()).uid !== uid) await giveDirectory(top, path, uid)
  } finally {
    await top.close()
  }
}

async function giveDirectory(directory: FileHandle, path: string, uid: number): Promise<void> {
  const inside = `/proc/self/fd/${directory.fd}`
  for (const name of await readdir(inside))
    await giveEntry(`${inside}/${name}`, `${path}/${name}`, uid)
  await directory.chown(uid, uid)
}

async function giveEntry(at: string, path: string, uid: number): Promise<void> {
  const file = await open(at, flags).catch((err: NodeJS.ErrnoException) => {
    // A symbolic link or a socket cannot be opened; lchown does not follow it.
    if (err.code === 'ELOOP' || err.code === 'ENXIO') return undefined
    throw err
  })
  if (file === undefined) return lchown(at, uid, uid)
  try {
    const facts = await file.stat()
    if (facts.isDirectory()) return await giveDirectory(file, path, uid)
    if (facts.nlink > 1)
      throw new FileUntrusted(path, 'has another name elsewhere (a hard link): remove one of them')
    await file.chown(uid, uid)
  } finally {
    await file.close()
  }
}
