import pg from 'pg'
import type { Log } from '../log.ts'
import type { Secret } from '../secret.ts'
import {
  DatabaseUnavailable,
  isBroken,
  MigrationEdited,
  MigrationFailed,
  SchemaAhead,
} from './errors.ts'
import { type MigrationFile, readMigrations } from './migration-file.ts'
import { connectReason } from './pool.ts'
import { type AppliedMigration, compareSchema } from './schema.ts'

/** Any number that no other lock in the database uses. */
const lockKey = 7_236_105_418

/** How long one starting node waits for another that is migrating. */
const lockWaitMs = 300_000

/**
 * Brings the schema up to the files of directory: forward only, one transaction for each file,
 * one node at a time. A crash leaves whole steps, and the next run goes on after them.
 */
export async function migrate({
  url,
  directory,
  log,
}: {
  readonly url: Secret<string>
  readonly directory: string
  readonly log: Log
}): Promise<{ applied: string[]; version: string }> {
  const files = await readMigrations(directory)
  const client = new pg.Client({
    connectionString: url.reveal(),
    application_name: 'vaultterm migrate',
    connectionTimeoutMillis: 5000,
    keepAlive: true,
  })
  // The statement that was waiting on a broken connection gets its error.
  client.on('error', () => {})
  try {
    await client.connect()
    return await migrateOn(client, files, log)
  } catch (err) {
    if (err instanceof pg.DatabaseError || err instanceof Error) {
      const outage = isBroken(err) && 'code' in err && !`${err.code}`.startsWith('ERR_')
      if (outage) throw new DatabaseUnavailable(connectReason(err), err)
    }
    throw err
  } finally {
    await client.end().catch(() => {})
  }
}

async function migrateOn(client: pg.Client, files: readonly MigrationFile[], log: Log) {
  // The lock ends with the connection, even if this process dies.
  await client.query(`set lock_timeout = ${lockWaitMs}`)
  await client.query('select pg_advisory_lock($1)', [lockKey])
  const before = await readApplied(client)
  const checksums = new Map(before.map(({ name, checksum }) => [name, checksum]))
  for (const { name, checksum } of files) {
    if ((checksums.get(name) ?? checksum) !== checksum) throw new MigrationEdited(name)
  }
  const { state, missing, unknown } = compareSchema(files, before)
  if (state === 'ahead') throw new SchemaAhead(unknown)
  const due = files.filter(({ name }) => missing.includes(name))
  for (const file of due) {
    await apply(client, file)
    log.info({ module: 'postgres', migration: file.name }, 'migration applied')
  }
  const names = [...before, ...due].map(({ name }) => name).toSorted()
  return { applied: due.map(({ name }) => name), version: names.at(-1) ?? '' }
}

async function readApplied(client: pg.Client): Promise<AppliedMigration[]> {
  await client.query(
    `create table if not exists schema_migration (
       name       text primary key,
       checksum   text not null,
       breaking   boolean not null,
       applied_at timestamptz not null default now()
     )`,
  )
  const { rows } = await client.query<AppliedMigration>(
    'select name, checksum, breaking from schema_migration order by name',
  )
  return rows
}

async function apply(client: pg.Client, { name, sql, checksum, breaking }: MigrationFile) {
  await client.query('begin')
  try {
    // First, so that a second migrator without the lock would stop here and not after half a step.
    await client.query(
      'insert into schema_migration (name, checksum, breaking) values ($1, $2, $3)',
      [name, checksum, breaking],
    )
    await client.query(sql)
    await client.query('commit')
  } catch (err) {
    await client.query('rollback').catch(() => {})
    throw new MigrationFailed(name, err)
  }
}
