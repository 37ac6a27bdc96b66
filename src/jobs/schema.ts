import type { MigrationSource } from '../postgres/index.ts'

/** The schema of the queue's tables, as the library calls it by default. */
export const queueSchema = 'pgboss'

/**
 * The library's own tables and functions, for the migration that names them. The package prints them with a
 * transaction around them, which would end the migrator's own in the middle.
 */
export const queueTables: MigrationSource = {
  name: 'pg-boss@12.38.0',
  async read() {
    const { getConstructionPlans } = await import('pg-boss')
    return withoutTransaction(getConstructionPlans(queueSchema, { createSchema: false }))
  },
}

const transactionLines =
  /^\s*(?:BEGIN|COMMIT|SET LOCAL \w+ = \d+|SELECT pg_advisory_xact_lock\(.*\));\s*$/

function withoutTransaction(sql: string): string {
  const lines = sql.split('\n').filter((line) => !transactionLines.test(line))
  return `${lines.join('\n').trim()}\n`
}
