import { open, readFile, rename } from 'node:fs/promises'

/** Writes a file that only we may read, whole or not at all, and on disk when this returns. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const draft = `${path}.new`
  const file = await open(draft, 'w', 0o600)
  try {
    // A draft that a crash left behind may have another mode.
    await file.chmod(0o600)
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, path)
}

/** The text of a file, or undefined when there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return undefined
    throw err
  }
}

/** Parses the JSON of a private file. The error holds nothing of the text: JSON.parse quotes from it. */
export function parsePrivateJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new SyntaxError('the file is not JSON')
  }
}
