import type { ConstructorOptions, Db, PgBoss } from 'pg-boss'
import { z } from 'zod'
import type { QueueConnection, ReadTx } from '../postgres/index.ts'
import { queueSchema } from './schema.ts'

/** It never makes or changes a table: our migrations do. */
const options = {
  schema: queueSchema,
  migrate: false,
  createSchema: false,
  reindex: false,
  persistQueueStats: false,
  registerInstance: false,
  openTelemetry: { enabled: false },
} as const satisfies ConstructorOptions

/** Loaded when first used: it takes a third of a second, and most commands add no job. */
export async function openBoss(own: ConstructorOptions): Promise<PgBoss> {
  const { PgBoss: Boss } = await import('pg-boss')
  return new Boss({ ...options, ...own })
}

/** The library's statements, run in a transaction of ours. */
export function within(tx: ReadTx): Db {
  return { executeSql: async (text, values = []) => ({ rows: await tx.many(text, values) }) }
}

/** The same as the queue's own role. */
export function connectionOf(connection: QueueConnection): Db {
  return { executeSql: (text, values) => connection.executeSql(text, values) }
}

/** The library answers so, and does not type it. */
const answer = z.object({ affected: z.int() })

/** How many jobs a call has changed. Fails closed when the library answers something else. */
export function affectedOf(result: unknown): number {
  return answer.parse(result).affected
}
