import { randomUUID } from 'node:crypto'
import type { PgBoss } from 'pg-boss'
import type { z } from 'zod'
import { type Database, systemTenant, type TenantId, type WriteTx } from '../postgres/index.ts'
import { affectedOf, openBoss, within } from './boss.ts'
import { JobInputInvalid, JobLost, JobsFull } from './errors.ts'
import type { Job } from './job.ts'
import { inputBytesMax, type Lane, laneNames } from './lanes.ts'
import { deleteProgress, isFull, wakeRunners } from './queries.ts'

/** A notification says which lane has a new job. */
export const addedChannel = 'vaultterm_jobs_added'

/** A job as the library keeps it. */
export interface Sent {
  readonly data: { readonly kind: string; readonly input: unknown }
  readonly singletonKey: string
  readonly group: { readonly id: TenantId }
}

/** Checks the input, and gives the row of a job. Throws JobInputInvalid. */
export function sentOf<Input extends z.ZodType>(
  tenant: TenantId,
  { kind, input, key }: Job<Input>,
  given: z.input<Input>,
): Sent {
  const read = input.safeParse(given)
  if (!read.success) throw new JobInputInvalid()
  if (Buffer.byteLength(JSON.stringify(given)) > inputBytesMax) throw JobInputInvalid.tooLarge()
  const singletonKey = `${tenant}:${kind}:${key?.(read.data) ?? randomUUID()}`
  return { data: { kind, input: given }, singletonKey, group: { id: tenant } }
}

/**
 * The queue as the application sees it: everything here is a statement in a transaction of the tenant's, in the
 * application's role. So an act adds its jobs also while no node can reach the queue.
 */
export class Queue {
  readonly #database: Database
  #boss: Promise<PgBoss> | undefined

  constructor(database: Database) {
    this.#database = database
  }

  /**
   * Learns the lanes before the first act needs them: an act that holds a connection must not wait for another
   * one.
   */
  async prime(): Promise<void> {
    const boss = await this.#open()
    for (const lane of laneNames) await boss.findJobs(lane, { id: randomUUID() })
  }

  async add<Input extends z.ZodType>(
    tx: WriteTx,
    tenant: TenantId,
    job: Job<Input>,
    given: z.input<Input>,
    options: { readonly startAfterSeconds?: number } = {},
  ): Promise<string | undefined> {
    const { data, ...sent } = sentOf(tenant, job, given)
    const boss = await this.#open()
    if (await isFull(tx, job.kind)) throw new JobsFull(job.kind)
    const { startAfterSeconds: startAfter } = options
    const id = await boss.send(job.lane, data, {
      ...sent,
      ...(startAfter !== undefined && { startAfter }),
      db: within(tx),
    })
    if (id !== null && startAfter === undefined) await wakeRunners(tx, addedChannel, job.lane)
    return id ?? undefined
  }

  /** Ends one try of a job. Throws JobLost when it is not the running one. */
  async complete(
    tx: WriteTx,
    lane: Lane,
    attempt: { readonly id: string; readonly retryCount: number },
  ): Promise<void> {
    const boss = await this.#open()
    const { id, retryCount } = attempt
    await deleteProgress(tx, id)
    const ended = await boss.complete(lane, { id, retryCount }, null, { db: within(tx) })
    if (affectedOf(ended) !== 1) throw new JobLost()
  }

  /** False when the job is over. */
  async cancel(tx: WriteTx, lane: Lane, id: string): Promise<boolean> {
    const boss = await this.#open()
    return affectedOf(await boss.cancel(lane, id, { db: within(tx) })) === 1
  }

  /** Tries a failed job once more. False when it has not failed. */
  async retry(tx: WriteTx, lane: Lane, id: string): Promise<boolean> {
    const boss = await this.#open()
    const isRetried = affectedOf(await boss.retry(lane, id, { db: within(tx) })) === 1
    if (isRetried) await wakeRunners(tx, addedChannel, lane)
    return isRetried
  }

  /** One that is never started: it only makes statements. Its own are the looks at the lanes. */
  #open(): Promise<PgBoss> {
    this.#boss ??= openBoss({
      supervise: false,
      schedule: false,
      db: {
        executeSql: async (text, values = []) => ({
          rows: await this.#database.read(systemTenant, (tx) => tx.many(text, values)),
        }),
      },
    })
    return this.#boss
  }
}
