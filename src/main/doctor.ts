import { statfs } from 'node:fs/promises'
import { arch, platform } from 'node:process'
import { formatAddress } from '../address.ts'
import type { Finding } from '../cli/index.ts'
import type { Config } from '../config.ts'
import { CodedError } from '../errors.ts'
import { QueueDown } from '../jobs/index.ts'
import { ListenFailed, tryListeners } from '../listener.ts'
import type { Log } from '../log.ts'
import {
  findSchemaChanges,
  listDatabaseSettings,
  listLoginSettings,
  listNames,
  listOverdueInstances,
  notificationUsage,
  notificationUsageMax,
  schemaState,
  systemTenant,
} from '../postgres/index.ts'
import { migrations } from '../product.ts'
import { assertPatched } from '../ssh/index.ts'
import { checkNativeParts } from './native-parts.ts'
import { type Opened, open } from './open.ts'

const skewMsMax = 2000
const freeBytesMin = 1024 ** 3
const overdueMs = 60_000

/** Checks everything that the product depends on, and explains how to fix each problem. */
export async function examine(config: Config, log: Log): Promise<readonly Finding[]> {
  const findings: (Finding | Promise<Finding>)[] = [
    check('node', nodeVersion),
    check('ssh2', async () => {
      assertPatched()
      return 'carries the patch series'
    }),
    ...checkNativeParts(config),
    check('disk', () => disk(config)),
  ]
  try {
    const product = await open('vaultterm doctor', config, log)
    try {
      findings.push(
        check('database', () => database(product)),
        check('schema', () => schema(product)),
        check('schema as migrated', () => asMigrated(product)),
        check('row security', () => rowSecurity(product)),
        check('login settings', () => loginSettings(product)),
        check('database settings', () => databaseSettings(product)),
        check('notifications', () => notifications(product)),
        check('clock', () => clock(product)),
        check('redis', () => redis(product)),
        check('vault', () => vault(product)),
        check('audit logs', () => auditLogs(product)),
        check('lost nodes', () => lostNodes(product)),
        check('jobs', () => backgroundWork(product)),
      )
      const ports = product.run.live ? [] : await listeners(config)
      return [...(await Promise.all(findings)), ...ports]
    } finally {
      await product.close()
    }
  } catch (err) {
    return [...(await Promise.all(findings)), failed('installation', err)]
  }
}

/** A failed check, with the way to fix it. */
class Wrong extends Error {
  readonly fix: string

  constructor(detail: string, fix: string) {
    super(detail)
    this.fix = fix
  }
}

async function check(name: string, look: () => Promise<string>): Promise<Finding> {
  try {
    return { name, ok: true, detail: await look() }
  } catch (err) {
    return failed(name, err)
  }
}

function failed(name: string, err: unknown): Finding {
  if (err instanceof Wrong) return { name, ok: false, detail: err.message, fix: err.fix }
  if (err instanceof ListenFailed) return { name, ok: false, detail: err.problem, fix: err.remedy }
  if (err instanceof CodedError) return { name, ok: false, detail: `${err.message} (${err.code})` }
  const detail = err instanceof Error ? err.message : 'unknown error'
  return { name, ok: false, detail }
}

async function nodeVersion(): Promise<string> {
  const [major = 0] = process.versions.node.split('.').map(Number)
  if (major >= 24) return `${process.version} on ${platform} ${arch}`
  throw new Wrong(
    `${process.version} is too old`,
    'start it with bin/vaultterm, which uses its own Node',
  )
}

async function disk({ home, given }: Config): Promise<string> {
  const directory = given.recordings?.replace(/^dir:/, '') ?? home
  const stats = await statfs(directory).catch(() => statfs('/'))
  const free = stats.bavail * stats.bsize
  const text = `${(free / 1024 ** 3).toFixed(1)} GiB free for recordings`
  if (free >= freeBytesMin) return text
  throw new Wrong(
    text,
    `free space under ${directory}, or set VAULTTERM_RECORDINGS to a directory on a larger disk`,
  )
}

async function database({ database: db }: Opened): Promise<string> {
  await db.ping()
  const { version } = await db.system((tx) =>
    tx.one<{ version: string }>("select current_setting('server_version') as version"),
  )
  return `Postgres ${version}, the login can use its roles, and none of them bypasses row security`
}

async function schema({ database: db }: Opened): Promise<string> {
  const { missing, unknown } = await schemaState(db, migrations)
  if (missing.length > 0) {
    throw new Wrong(
      `these migrations are missing: ${missing.join(', ')}`,
      'run `vaultterm migrate`',
    )
  }
  if (unknown.length > 0) {
    throw new Wrong(
      `it has migrations of a newer version: ${unknown.join(', ')}`,
      'upgrade this program',
    )
  }
  return 'up to date'
}

/** Who changes the door of a log hides acts from it. */
async function asMigrated({ database: db }: Opened): Promise<string> {
  const { acts, others, unknown } = await db.system(findSchemaChanges)
  if (unknown.length > 0) {
    throw new Wrong(
      `it was not compared: it has ${unknown.join(', ')} of a newer version`,
      'run the `doctor` of that version; if there is none, find out who added the row to schema_migration',
    )
  }
  const changed = [...acts, ...others]
  if (changed.length === 0)
    return 'functions, triggers, policies and grants are those of the migrations'
  throw new Wrong(
    `not as the migrations make it: ${listNames(changed)}`,
    acts.length > 0
      ? 'acts may be missing from the logs since then. Find out who changed it, and restore it from the files in migrations/'
      : 'find out who changed it, and restore it from the files in migrations/',
  )
}

async function rowSecurity({ database: db }: Opened): Promise<string> {
  const open = await db.system((tx) =>
    tx.many<{ name: string }>(
      `select c.relname as name from pg_class c
         join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'public'
         join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
         where c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)`,
    ),
  )
  if (open.length === 0) return 'forced on every table of a tenant'
  throw new Wrong(
    `it is not forced on ${open.map(({ name }) => name).join(', ')}`,
    'as the owner of the tables, run: alter table NAME enable row level security, force row level security',
  )
}

/** A login may change its own, and they outlast its password. Those that matter do not bind us. */
async function loginSettings({ database: db }: Opened): Promise<string> {
  const found = await db.system(listLoginSettings)
  if (found.length === 0) return 'no login of VaultTerm has settings of its own'
  const logins = [...new Set(found.map(({ login }) => login))]
  throw new Wrong(
    found.map(({ login, setting }) => `${login}: ${setting}`).join(', '),
    `any login may do that to itself. If you did not, change its password; then, as a superuser, run: ` +
      logins.map((login) => `alter role ${login} reset all`).join('; ') +
      ' (and the same with "in database NAME"). Your own belong to the database: alter database NAME set …',
  )
}

/** They are the operator's; but a superuser's, too. A connection whose triggers are off is refused. */
async function databaseSettings({ database: db }: Opened): Promise<string> {
  const found = await db.system(listDatabaseSettings)
  if (found.length === 0) return 'the database has none of its own'
  return `the database has ${listNames(found)}: find out who set what you did not`
}

/** A full queue delays the ends of sessions. Any login of the database server can fill it. */
async function notifications({ database: db }: Opened): Promise<string> {
  const usage = await db.system(notificationUsage)
  const text = `the queue of the database is ${Math.round(usage * 100)} % full`
  if (usage < notificationUsageMax) return text
  throw new Wrong(
    text,
    'end the connection that holds it: of those that listen, the one with the oldest open transaction in ' +
      'pg_stat_activity (the log of the database names its process); then find out whose it is',
  )
}

async function clock({ database: db }: Opened): Promise<string> {
  const before = Date.now()
  const { now } = await db.system((tx) => tx.one<{ now: Date }>('select clock_timestamp() as now'))
  const skew = Math.abs(now.getTime() - (before + Date.now()) / 2)
  if (skew <= skewMsMax) return 'agrees with the clock of the database'
  throw new Wrong(
    `differs by ${Math.round(skew)} ms from the clock of the database`,
    'run a time service (chrony, systemd-timesyncd) on both machines',
  )
}

async function redis({ coordination }: Opened): Promise<string> {
  await coordination.ping()
  return coordination.kind === 'redis'
    ? 'answers'
    : 'not used: coordination is in this process, for a single node'
}

async function vault({ vault: store }: Opened): Promise<string> {
  const { sealed, provider, kekId } = await store.status()
  if (!sealed) return `open with ${provider} key ${kekId}`
  throw new Wrong('sealed: no session can be opened', 'run `vaultterm vault unseal`')
}

/** How many logs a finding names. */
const namedMax = 5

/** Compares every log with its signed checkpoints, and with the heads that this node remembers. */
async function auditLogs({ audit, tenants }: Opened): Promise<string> {
  const known = [{ id: systemTenant, slug: 'the platform' }, ...(await tenants.list())]
  const remembered = await audit.remembered()
  const gone = remembered.filter((id) => !known.some((one) => one.id === id))
  const logs = [...known, ...gone.map((id) => ({ id, slug: `the tenant ${id}, which is gone` }))]
  const wrong: string[] = []
  for (const { id, slug } of logs) {
    const contradiction = await audit.contradiction(id)
    if (contradiction !== undefined) wrong.push(`${slug}: ${contradiction.contradiction}`)
  }
  if (wrong.length > 0) {
    const more = wrong.length > namedMax ? `, and ${wrong.length - namedMax} more` : ''
    throw new Wrong(
      `${wrong.length} of ${logs.length} contradict their signed heads (${wrong.slice(0, namedMax).join(', ')}${more})`,
      'run `vaultterm audit verify TENANT`, and find out who changed the database',
    )
  }
  return `${logs.length} continue their signed heads; this node remembers the heads of ${remembered.length}`
}

/** A node that is gone has its sessions ended by another one within a minute. */
async function lostNodes({ database: db, run }: Opened): Promise<string> {
  const overdue = await db.system((tx) => listOverdueInstances(tx, overdueMs))
  if (overdue.length === 0) return 'no lost process has open sessions'
  const names = [...new Set(overdue.map(({ node }) => node))].slice(0, 5).join(', ')
  throw new Wrong(
    `sessions of ${overdue.length} lost processes are still open on record (${names})`,
    run.live
      ? 'look in the log for "ends of sessions could not be put on record": it names the tenant and why'
      : 'start a node: it ends them',
  )
}

/** People log in also while it stands still. */
async function backgroundWork({ jobs }: Opened): Promise<string> {
  try {
    const { waiting, running, failed } = await jobs.look()
    const seen = failed === 0 ? '' : ': look at `vaultterm job list --state failed`'
    return `${waiting} wait, ${running} run, ${failed} have failed in the last week${seen}`
  } catch (err) {
    if (!(err instanceof QueueDown)) throw err
    throw new Wrong(
      err.message,
      'the login of VAULTTERM_JOBS_DATABASE_URL (or DATABASE_URL) must be a member of vaultterm_jobs: as a superuser, ' +
        'run: grant vaultterm_jobs to LOGIN. People can log in meanwhile',
    )
  }
}

/** The listeners of a server that does not run. */
async function listeners(config: Config): Promise<readonly Finding[]> {
  const trials = await tryListeners(config)
  return trials.map(({ face, listen, problem }) => {
    const name = `${face} listener`
    if (problem !== undefined) return failed(name, problem)
    return { name, ok: true, detail: `${formatAddress(listen)} is free` }
  })
}
