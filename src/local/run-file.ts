import { rm } from 'node:fs/promises'
import { z } from 'zod'
import type { DatabaseUrls } from '../config.ts'
import { Secret } from '../secret.ts'
import { parsePrivateJson, readIfThere, writePrivateFile } from './private-file.ts'
import { isAlive, ownProcessId } from './process-id.ts'

/** The facts that a running `up` gives to commands in other processes. */
export interface RunFacts {
  /** As in the ready line. */
  readonly ssh: string
  readonly portal: string
  readonly admin: string
  /** The base of links for people. */
  readonly publicUrl: string
  readonly database: DatabaseUrls
  readonly redisUrl: Secret<string> | undefined
  readonly kek: string
  readonly recordings: string
}

/** The same, with the process that they are of. */
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
  database: z.object({ owner: secret, app: secret, bastion: secret, jobs: secret }),
  redisUrl: secret.optional(),
  kek: z.string(),
  recordings: z.string(),
})

/** Writes the facts of this process to the run file. */
export async function writeRun(path: string, facts: RunFacts): Promise<void> {
  const { owner, app, bastion, jobs } = facts.database
  const text = {
    ...facts,
    ...ownProcessId(),
    startedAt: new Date().toISOString(),
    // The file is as private as the logins beside it.
    database: {
      owner: owner.reveal(),
      app: app.reveal(),
      bastion: bastion.reveal(),
      jobs: jobs.reveal(),
    },
    redisUrl: facts.redisUrl?.reveal(),
  }
  await writePrivateFile(path, `${JSON.stringify(text, undefined, 2)}\n`)
}

/** The facts of the running process; undefined without one, or when a killed process left the file. Throws FileUntrusted. */
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
