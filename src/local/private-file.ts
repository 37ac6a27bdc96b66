import { constants } from 'node:fs'
import { chmod, lstat, mkdir, open, rename, rm } from 'node:fs/promises'
import { describeUser } from './accounts.ts'
import { FileUntrusted } from './errors.ts'
import { describe, openTrusted, resolveTrusted } from './trusted-path.ts'

const draftFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

/**
 * Writes a file that only its owner can read. The file appears whole or not at all, and it is on disk
 * when this returns.
 */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const draft = `${path}.new`
  // A draft that a crash left behind, or a link that leads elsewhere.
  await rm(draft, { force: true })
  const file = await open(draft, draftFlags, 0o600)
  try {
    // The umask may have taken bits away.
    await file.chmod(0o600)
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, path)
}

/**
 * The text of a file, or undefined when it does not exist. Throws FileUntrusted when another user can
 * have written it or, unless it is `public`, can read it.
 */
export async function readIfThere(
  path: string,
  options: { readonly public?: boolean } = {},
): Promise<string | undefined> {
  const file = await openTrusted(path, { secret: options.public !== true })
  if (file === undefined) return undefined
  try {
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

/**
 * Makes a directory for its owner alone, or takes the existing one if no other user can change it.
 */
export async function keepPrivateDirectory(path: string): Promise<void> {
  if ((await resolveTrusted(path)) === undefined) {
    await mkdir(path, { recursive: true, mode: 0o700 })
    const made = await resolveTrusted(path)
    // The umask may have taken bits away.
    if (made !== undefined) await chmod(made, 0o700)
  }
  const resolved = (await resolveTrusted(path)) ?? path
  const facts = await lstat(resolved)
  if (!facts.isDirectory()) throw new FileUntrusted(resolved, 'is not a directory: remove it')
  const own = process.geteuid?.() ?? facts.uid
  if (facts.uid !== own) {
    const why = `does not belong to this user (${await describe(facts)})`
    throw new FileUntrusted(
      resolved,
      `${why}: run this as ${await describeUser(facts.uid)}, its owner`,
    )
  }
}

/**
 * Parses the JSON of a private file. The error has no part of the text: JSON.parse quotes from it.
 */
export function parsePrivateJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new SyntaxError('the file is not JSON')
  }
}
