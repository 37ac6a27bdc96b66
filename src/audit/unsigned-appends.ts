/** What a process appended and could not see signed before it ended, in a file of the home. */

import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { z } from 'zod'
import { errorCode } from '../errors.ts'
import { parseTenantId, type TenantId } from '../postgres/index.ts'
import { OwnAppend, type Remembered } from './own-appends.ts'

const line = z.strictObject({
  tenant: z.string(),
  id: z.string().max(64),
  index: z.int().nonnegative(),
  nameAt: z.int().nonnegative(),
  digest: z.base64(),
})

/** Adds lines to the file. Resolves when they are on disk. */
export async function keepUnsigned(
  path: string,
  logs: ReadonlyMap<TenantId, Iterable<Remembered>>,
): Promise<void> {
  const lines = [...logs].flatMap(([tenant, appends]) =>
    Array.from(appends, ({ id, index, nameAt, digest }) =>
      JSON.stringify({ tenant, id, index, nameAt, digest: digest.toString('base64') }),
    ),
  )
  if (lines.length === 0) return
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = constants
  const file = await open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600)
  try {
    // A line that a crash cut off ends here.
    await file.writeFile(`\n${lines.join('\n')}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
}

/**
 * Takes what other processes left: the file is gone afterwards, and who takes it remembers. Answers how many
 * lines it could not read.
 */
export async function takeUnsigned(
  path: string,
  add: (tenant: TenantId, append: OwnAppend) => void,
): Promise<number> {
  const taken = `${path}.${randomUUID()}.taken`
  try {
    await rename(path, taken)
  } catch (err) {
    if (errorCode(err) === 'ENOENT') return 0
    throw err
  }
  let unread = 0
  for (const text of (await readFile(taken, 'utf8')).split('\n')) {
    if (text === '') continue
    const parsed = parse(text)
    if (parsed === undefined) unread += 1
    else add(parsed.tenant, parsed.append)
  }
  await rm(taken)
  return unread
}

function parse(text: string): { tenant: TenantId; append: OwnAppend } | undefined {
  try {
    const { tenant, digest, ...rest } = line.parse(JSON.parse(text))
    const append = new OwnAppend({ ...rest, digest: Buffer.from(digest, 'base64') })
    const log = parseTenantId(tenant)
    return log && { tenant: log, append }
  } catch {
    return undefined
  }
}
