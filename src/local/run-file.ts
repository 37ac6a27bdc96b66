import { rm } from 'node:fs/promises'
import { z } from 'zod'
import type { DatabaseUrls } from '../config.ts'
import { Secret } from '../secret.ts'
import { parsePrivateJson, readIfThere, writePrivateFile } from './private-file.ts'
import { isAlive, ownProcessId } from './process-id.ts'

/** What a running `up` tells the commands that work on its home from other processes. */
export interface RunFacts {
  /** As in the ready line. */
  readonly ssh: string
  readonly portal: string
  readonly admin: string
  /** What goes into links for people. */
  readonly publicUrl: string
  readonly database: DatabaseUrls
  readonly redisUrl: Secret<string> | undefined
  readonly kek: string
  readonly recordings: string
}

/** The same, with whose they are. */
export interface Run extends RunFacts {
  readonly pid: number
  readonly startedAt: string
}

const secret = z.string().transform((text) => new Secret(text))

const content = z.object({
  pid: z.int().positive(),
  start: z.string(),
  startedAt: z.string(),
  ssh: z.string(),
  portal: z.string(),
  admin: z.string(),
  publicUrl: z.string(),
  database: z.object({ owner: secret, app: secret, bastion: secret }),
  redisUrl: secret.optional(),
  kek: z.string(),
  recordings: z.string(),
})

/** Says that this process runs, and how to reach what it runs. */
export async function writeRun(path: string, facts: RunFacts): Promise<void> {
  const { owner, app, bastion } = facts.database
  const text = {
    ...facts,
    ...ownProcessId(),
    startedAt: new Date().toISOString(),
    // The file is as private as the logins that lie beside it.
    database: { owner: owner.reveal(), app: app.reveal(), bastion: bastion.reveal() },
    redisUrl: facts.redisUrl?.reveal(),
  }
  await writePrivateFile(path, `${JSON.stringify(text, undefined, 2)}\n`)
}

/** What runs now. A file that a killed process left behind, or that is not ours, counts as none. */
export async function readRun(path: string): Promise<Run | undefined> {
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  const parsed = content.safeParse(parsePrivateJson(text))
  if (!parsed.success || !isAlive(parsed.data)) return undefined
  const { start: _, redisUrl, ...run } = parsed.data
  return { ...run, redisUrl }
}

export function removeRun(path: string): Promise<void> {
  return rm(path, { force: true })
}
