import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { readIfThere, writePrivateFile } from './private-file.ts'

/**
 * The name of this home's process in the deployment, the same at every start: after a crash a node
 * finds its own sessions by it.
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
