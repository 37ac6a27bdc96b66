import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { readIfThere, writePrivateFile } from './private-file.ts'

/**
 * What this home's process is called among those of the deployment, at every start the same: by it
 * a node finds after a crash the sessions that were its own.
 */
export async function keepNodeName(path: string): Promise<string> {
  const kept = (await readIfThere(path))?.trim()
  if (kept !== undefined && /^[a-z0-9-]{1,64}$/.test(kept)) return kept
  const host = hostname()
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .slice(0, 40)
  const name = `${host || 'node'}-${randomBytes(4).toString('hex')}`
  await writePrivateFile(path, `${name}\n`)
  return name
}
