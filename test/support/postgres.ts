import { randomBytes, randomUUID } from 'node:crypto'
import pg from 'pg'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, inject } from 'vitest'
import { queueTables } from '../../src/jobs/index.ts'
import {
  type Database,
  type InstanceId,
  migrate,
  newInstanceId,
  openDatabase,
  type PoolLimits,
  parseTenantId,
  type TenantId,
} from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'

/** Logs nothing: tests assert what they care about. */
export const silent = pino({ level: 'silent' })

/** What a file of tests has: a database of its own, migrated, and dropped after the file. */
export interface TestDatabase {
  /** As the application. */
  readonly app: Database
  /** As the bastion face, which can read no secret table. */
  readonly bastion: Database
  /** URLs of logins, none of them a superuser. */
  readonly urls: {
    readonly app: Secret<string>
    readonly bastion: Secret<string>
    readonly jobs: Secret<string>
    readonly owner: Secret<string>
  }
  readonly name: string
  /** For a client of a test's own, where many rows are made at once. */
  readonly superuserUrl: string
  /** A new tenant, as the application makes one. */
  createTenant(slug?: string): Promise<TenantId>
  /** A statement as a superuser: to read the catalogue, or to play the attacker. */
  superuser<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>
  /** The same past every trigger: for a state that ours refuse. */
  pastTriggers(text: string, values?: readonly unknown[]): Promise<void>
  /** The same as who owns the tables, in a tenant's transaction: grants do not bind the owner. */
  owner(tenant: TenantId, text: string): Promise<void>
  /** One more database object with other limits; closed after the file. */
  open(
    role: 'vaultterm_app' | 'vaultterm_bastion',
    limits?: Partial<PoolLimits>,
    url?: string,
    instance?: InstanceId,
  ): Database
  /** The same for the application, as a process that has a lease for an hour: it may begin sessions. */
  openServing(limits?: Partial<PoolLimits>, url?: string): Promise<Database>
}

const logins = {
  app: 'vaultterm_test_app',
  bastion: 'vaultterm_test_bastion',
  jobs: 'vaultterm_test_jobs',
  owner: 'vaultterm_test_owner',
} as const

let ownServer: string | undefined

/** For a file that cannot share the run's server: call it before anything is opened. */
export function useServer(url: string): void {
  ownServer = url
}

/** Clones the migrated template for one file of tests. */
export async function openTestDatabase(): Promise<TestDatabase> {
  const template = await migratedTemplate()
  const name = `test_${randomUUID().replaceAll('-', '')}`
  await asSuperuser('postgres', (client) =>
    locked(client, () =>
      client.query(`create database ${name} template ${template} owner ${logins.owner}`),
    ),
  )
  const opened: Database[] = []
  const url = (login: string) => new Secret(urlOf(name, login))
  const open: TestDatabase['open'] = (role, limits, given, instance) => {
    const database = openDatabase({
      url:
        given === undefined
          ? url(role === 'vaultterm_app' ? logins.app : logins.bastion)
          : new Secret(given),
      role,
      log: silent,
      metrics: new Registry(),
      ...(limits && { limits }),
      ...(instance && { instance }),
    })
    opened.push(database)
    return database
  }
  const superuser: TestDatabase['superuser'] = (text, values = []) =>
    asSuperuser(name, async (client) => (await client.query(text, [...values])).rows)
  const app = open('vaultterm_app')
  const bastion = open('vaultterm_bastion')
  afterAll(async () => {
    await Promise.all(opened.map((database) => database.close()))
    await asSuperuser('postgres', (client) => client.query(`drop database ${name} with (force)`))
  })
  return {
    app,
    bastion,
    open,
    async openServing(limits = {}, given = undefined) {
      const instance = newInstanceId()
      await superuser(
        `insert into node_instance (id, node, lease_ms, lease_until)
           values ($1, 'serving', 3600000, now() + interval '1 hour')`,
        [instance],
      )
      return open('vaultterm_app', limits, given, instance)
    },
    name,
    superuserUrl: urlOf(name),
    urls: {
      app: url(logins.app),
      bastion: url(logins.bastion),
      jobs: url(logins.jobs),
      owner: url(logins.owner),
    },
    async createTenant(slug = `t${randomBytes(8).toString('hex')}`) {
      const tenant = newTenantId()
      await app.write(tenant, (tx) =>
        tx.run('insert into tenant (tenant_id, slug, name) values ($1, $2, $2)', [tenant, slug]),
      )
      return tenant
    },
    async owner(tenant, text) {
      const client = new pg.Client({ connectionString: urlOf(name, logins.owner) })
      await client.connect()
      try {
        await client.query(`begin; select set_config('app.tenant_id', '${tenant}', true)`)
        await client.query(text)
        await client.query('commit')
      } finally {
        await client.end()
      }
    },
    superuser,
    pastTriggers: (text, values = []) =>
      asSuperuser(name, async (client) => {
        await client.query('set session_replication_role = replica')
        await client.query(text, [...values])
      }),
  }
}

/** An id that no tenant has. */
export function newTenantId(): TenantId {
  const id = parseTenantId(randomUUID())
  if (id === undefined) throw new Error('randomUUID made no UUID')
  return id
}

/** An empty database for tests of the migrations themselves; dropped after the file. */
export async function openEmptyDatabase(): Promise<{ url: Secret<string>; name: string }> {
  await migratedTemplate()
  const name = `test_${randomUUID().replaceAll('-', '')}`
  await asSuperuser('postgres', (client) =>
    client.query(`create database ${name} owner ${logins.owner}`),
  )
  afterAll(() =>
    asSuperuser('postgres', (client) => client.query(`drop database ${name} with (force)`)),
  )
  return { url: new Secret(urlOf(name, logins.owner)), name }
}

/** Migrates one database in a whole test run, whichever file comes first; all others are copies. */
async function migratedTemplate(): Promise<string> {
  const template = 'vaultterm_template'
  await asSuperuser('postgres', (client) =>
    locked(client, async () => {
      for (const login of Object.values(logins)) await ensureLogin(client, login)
      const known = await client.query('select from pg_database where datname = $1', [template])
      if (known.rowCount !== 0) return
      await client.query(`create database ${template} owner ${logins.owner}`)
      try {
        await migrateTemplate(template)
      } catch (err) {
        // The next file is told the same, rather than given half a schema.
        await client.query(`drop database ${template} with (force)`)
        throw err
      }
      await client.query(`grant vaultterm_app, vaultterm_system to ${logins.app}`)
      await client.query(`grant vaultterm_bastion, vaultterm_directory to ${logins.bastion}`)
      await client.query(`grant vaultterm_jobs to ${logins.jobs}`)
    }),
  )
  return template
}

function migrateTemplate(template: string) {
  const url = new Secret(urlOf(template, logins.owner))
  return migrate({ url, directory: 'migrations', sources: [queueTables], log: silent })
}

async function ensureLogin(client: pg.Client, login: string): Promise<void> {
  const found = await client.query('select from pg_roles where rolname = $1', [login])
  if (found.rowCount !== 0) return
  // The owner makes the roles in the first migration; it is no superuser, so row security holds it.
  const owner = login === logins.owner ? 'createrole' : ''
  await client.query(`create role ${login} login nosuperuser password '${login}' ${owner}`)
}

/** Copying a template fails while anybody is connected to it: one file at a time. */
async function locked<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  await client.query('select pg_advisory_lock(4207)')
  try {
    return await work()
  } finally {
    await client.query('select pg_advisory_unlock(4207)')
  }
}

async function asSuperuser<T>(
  database: string,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({ connectionString: urlOf(database) })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** The run's server with another database, and another login where one is given. */
function urlOf(database: string, login?: string): string {
  const url = new URL(ownServer ?? inject('postgresUrl'))
  url.pathname = `/${database}`
  if (login !== undefined) Object.assign(url, { username: login, password: login })
  return url.href
}
