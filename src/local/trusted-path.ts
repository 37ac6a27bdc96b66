import { constants, type Stats } from 'node:fs'
import { type FileHandle, lstat, open, readlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { errorCode } from '../errors.ts'
import { describeUser, isGroupWithin } from './accounts.ts'
import { FileUntrusted } from './errors.ts'

/** Makes the error that a caller wants for a path that others can change. */
export type Refuse = (path: string, why: string) => Error

const linksMax = 40
const sticky = 0o1000
const ownOne = 'use one of your own'
const refuseFile: Refuse = (path, why) => new FileUntrusted(path, why)

/**
 * Refuses a path that another user than root and ourselves can change, or can put something else in
 * the place of: the rule of sshd's StrictModes, for each directory and symbolic link on the way.
 *
 * In a directory with the sticky bit (/tmp) other users can add names, but cannot remove ours.
 * `elsewhere` is a remedy for a path of another user, in words.
 * Returns the path without symbolic links; undefined when it does not exist, and its existing part
 * is trusted.
 */
export async function resolveTrusted(
  path: string,
  refuse: Refuse = refuseFile,
  elsewhere = ownOne,
): Promise<string | undefined> {
  const names = namesOf(resolve(path))
  let at = '/'
  let links = 0
  await assertSafe(at, await lstat(at), names.length === 0, { refuse, elsewhere })
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    const next = join(at, name)
    const facts = await factsOf(next)
    if (facts === undefined) return undefined
    await assertSafe(next, facts, names.length === 0, { refuse, elsewhere })
    if (!facts.isSymbolicLink()) at = next
    else {
      links += 1
      if (links > linksMax) throw refuse(next, 'is a symbolic link that leads in a circle')
      const to = resolve(at, await readlink(next))
      at = '/'
      names.unshift(...namesOf(to))
    }
  }
  return at
}

/**
 * Opens a file to read it, if no other user can have written it: its path is trusted, and so is the
 * file behind the descriptor. A `secret` file must be readable by its owner alone.
 */
export async function openTrusted(
  path: string,
  { secret }: { readonly secret: boolean },
): Promise<FileHandle | undefined> {
  const resolved = await resolveTrusted(path)
  if (resolved === undefined) return undefined
  // A pipe of that name would hold up the start for ever without O_NONBLOCK.
  const file = await open(
    resolved,
    constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
  ).catch(async (err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return undefined
    throw new FileUntrusted(resolved, `cannot be read (${err.code ?? 'unknown error'})`)
  })
  if (file === undefined) return undefined
  try {
    const facts = await file.stat()
    if (!facts.isFile()) throw new FileUntrusted(resolved, 'is not a file: remove it')
    await assertSafe(resolved, facts, true)
    if (secret && (facts.mode & 0o077) !== 0) {
      const why = `can be read by others (${await describe(facts)}): run chmod 600 ${quoted(resolved)}`
      throw new FileUntrusted(resolved, why)
    }
    return file
  } catch (err) {
    await file.close()
    throw err
  }
}

/** `owner alice (user 1000), mode 0755`, of a file or a directory. */
export async function describe({ uid, mode }: Pick<Stats, 'uid' | 'mode'>): Promise<string> {
  return `owner ${await describeUser(uid)}, mode ${(mode & 0o7777).toString(8).padStart(4, '0')}`
}

/** For a shell, where it needs to be. */
export function quoted(path: string): string {
  return /^[\w./@%+=:,-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}

async function assertSafe(
  path: string,
  facts: Stats,
  isLast: boolean,
  { refuse, elsewhere } = { refuse: refuseFile, elsewhere: ownOne },
) {
  const own = process.geteuid?.() ?? facts.uid
  if (facts.uid !== 0 && facts.uid !== own) {
    throw refuse(path, await ownerProblem(path, facts, { own, isLast, elsewhere }))
  }
  // The mode of a link has no meaning: its directory decides who can replace it.
  if (facts.isSymbolicLink() || (facts.mode & 0o022) === 0) return
  if (facts.isDirectory() && (facts.mode & sticky) !== 0 && !isLast) return
  if ((facts.mode & 0o002) === 0 && (await isGroupWithin(facts.gid, [0, own]))) return
  const why = `can be written by others (${await describe(facts)}): run chmod go-w ${quoted(path)}`
  throw refuse(path, `${why}, after a check of the files that they may have put there`)
}

async function ownerProblem(
  path: string,
  facts: Stats,
  {
    own,
    isLast,
    elsewhere,
  }: { readonly own: number; readonly isLast: boolean; readonly elsewhere: string },
) {
  const owner = await describeUser(facts.uid)
  const why = `belongs to another user (${await describe(facts)}), who can change it`
  if (!isLast && facts.isDirectory()) {
    const there =
      own === 0
        ? 'that only root can change, such as one in /var/lib'
        : `that only ${await describeUser(own)} and root can change`
    return `${why}: use a directory ${there}, or run this as ${owner}`
  }
  return `${why}: run this as ${owner}, its owner, or ${elsewhere}; if you trust all of it, you can run chown -hR ${own} ${quoted(path)} as root, with VaultTerm stopped`
}

async function factsOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path)
  } catch (err) {
    const code = errorCode(err)
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    if (code !== 'EACCES') throw err
    throw new FileUntrusted(path, `cannot be looked at: ${dirname(path)} is closed to this user`)
  }
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '')
}
