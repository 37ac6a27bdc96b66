import pg from 'pg'
import type { Log } from '../log.ts'
import type { Secret } from '../secret.ts'
import { BoundedClient } from './client.ts'
import {
  DatabaseUnavailable,
  isBroken,
  MigrationBlocked,
  MigrationEdited,
  MigrationFailed,
  SchemaAhead,
} from './errors.ts'
import { type MigrationFile, readMigrations } from './migration-file.ts'
import { type MigrationSource, wholeText } from './migration-source.ts'
import { connectReason } from './pool.ts'
import { type AppliedMigration, compareSchema } from './schema.ts'
import { takeBackSettings, withSettings } from './session-settings.ts'

/** How long one starting node waits for another that is migrating. */
const defaultWaitMs = 300_000
/** How many sessions an error names. */
const holdersMax = 5

/**
 * Brings the schema up to the files of directory: forward only, one transaction for each file,
 * one node at a time. A crash leaves whole steps, and the next run goes on after them.
 *
 * Takes no lock where nothing is to be done. The lock is one that only the owner of the tables can take: an
 * advisory lock can be held by every login.
 */
export async function migrate({
  url,
  directory,
  sources = [],
  log,
  waitMs = defaultWaitMs,
}: {
  readonly url: Secret<string>
  readonly directory: string
  /** The packages whose statements the files name. */
  readonly sources?: readonly MigrationSource[]
  readonly log: Log
  /** For each lock. */
  readonly waitMs?: number
}): Promise<{ applied: string[]; version: string }> {
  const files = await readMigrations(directory)
  const client = new BoundedClient({
    connectionString: withSettings(url, {
      statement_timeout: 0,
      idle_in_transaction_session_timeout: 0,
    }),
    application_name: 'vaultterm migrate',
    connectionTimeoutMillis: 5000,
    keepAlive: true,
  })
  // The statement that was waiting on a broken connection gets its error.
  client.on('error', () => {})
  try {
    await client.connect()
    return await migrateOn(client, files, { sources, log, waitMs })
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

async function migrateOn(
  client: pg.Client,
  files: readonly MigrationFile[],
  options: {
    readonly sources: readonly MigrationSource[]
    readonly log: Log
    readonly waitMs: number
  },
) {
  const { sources, log, waitMs } = options
  await client.query(takeBackSettings)
  await client.query(`set lock_timeout = ${Math.ceil(waitMs)}`)
  const before = await readApplied(client)
  const checksums = new Map(before.map(({ name, checksum }) => [name, checksum]))
  for (const { name, checksum } of files) {
    if ((checksums.get(name) ?? checksum) !== checksum) throw new MigrationEdited(name)
  }
  const { state, missing, unknown } = compareSchema(files, before)
  if (state === 'ahead') throw new SchemaAhead(unknown)
  const applied: string[] = []
  const wanted = files.filter(({ name }) => missing.includes(name))
  // All of them before the first is applied.
  const texts = await Promise.all(wanted.map((file) => wholeText(file, sources)))
  for (const [at, file] of wanted.entries()) {
    if (!(await apply(client, { ...file, sql: texts[at] ?? '' }, waitMs))) continue
    applied.push(file.name)
    log.info({ module: 'postgres', migration: file.name }, 'migration applied')
  }
  const names = [...before.map(({ name }) => name), ...missing].toSorted()
  return { applied, version: names.at(-1) ?? '' }
}

async function readApplied(client: pg.Client): Promise<AppliedMigration[]> {
  const { rows: known } = await client.query(
    "select to_regclass('schema_migration') is not null as made",
  )
  if (known[0]?.made !== true) await createTable(client)
  const { rows } = await client.query<AppliedMigration>(
    'select name, checksum, breaking from schema_migration order by name',
  )
  return rows
}

/** Another node made it in the same moment: its row in the catalog, its type, or the whole table was there. */
const madeMeanwhile = new Set(['23505', '42710', '42P07'])

async function createTable(client: pg.Client): Promise<void> {
  try {
    await client.query(
      `create table if not exists schema_migration (
         name       text primary key,
         checksum   text not null,
         breaking   boolean not null,
         applied_at timestamptz not null default now()
       )`,
    )
  } catch (err) {
    if (!(err instanceof pg.DatabaseError && madeMeanwhile.has(err.code ?? ''))) throw err
  }
}

/** False when another node was faster. */
async function apply(
  client: pg.Client,
  { name, sql, checksum, breaking }: MigrationFile,
  waitMs: number,
): Promise<boolean> {
  await client.query('begin')
  try {
    // Those who may only read the table cannot take a lock that conflicts with this one, nor does this one
    // keep them from reading.
    await client.query('lock table schema_migration in share row exclusive mode')
    const { rowCount } = await client.query(
      `insert into schema_migration (name, checksum, breaking) values ($1, $2, $3)
         on conflict do nothing`,
      [name, checksum, breaking],
    )
    if (rowCount !== 0) await client.query(sql)
    await client.query('commit')
    return rowCount !== 0
  } catch (err) {
    await client.query('rollback').catch(() => {})
    if (err instanceof pg.DatabaseError && err.code === '55P03') {
      throw new MigrationBlocked(Math.ceil(waitMs / 1000), await listHolders(client), err)
    }
    throw new MigrationFailed(name, err)
  }
}

/** The other sessions that hold a lock on a table of ours. */
async function listHolders(client: pg.Client): Promise<string[]> {
  const { rows } = await client
    .query<{ holder: string }>(
      `select format('%s (process %s, %s)', a.usename, l.pid, string_agg(distinct c.relname, ', ')) as holder
         from pg_locks l
           join pg_database d on d.oid = l.database and d.datname = current_database()
           join pg_class c on c.oid = l.relation and c.relkind = 'r'
             and c.relnamespace = 'public'::regnamespace
           join pg_stat_activity a on a.pid = l.pid
         where l.granted and l.pid <> pg_backend_pid()
         group by a.usename, l.pid order by 1 limit ${holdersMax}`,
    )
    .catch(() => ({ rows: [] }))
  return rows.map(({ holder }) => holder)
}
