import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
import { listDatabaseSettings, listLoginSettings, migrate } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

const fixture = await openTestDatabase()
const tenant = await fixture.createTenant()

/** Each makes every later connection of a login useless, or its effects unsafe. */
const settings = [
  ["search_path = 'nowhere'", 'search_path', 'public,pg_temp'],
  ['synchronous_commit = off', 'synchronous_commit', 'on'],
  ['row_security = off', 'row_security', 'on'],
  ['default_transaction_read_only = on', 'default_transaction_read_only', 'off'],
  ["default_transaction_isolation = 'serializable'", 'transaction_isolation', 'read committed'],
  ['statement_timeout = 1', 'statement_timeout', '15s'],
  ['lock_timeout = 1', 'lock_timeout', '10s'],
  ['transaction_timeout = 20', 'transaction_timeout', '0'],
  ['idle_session_timeout = 1', 'idle_session_timeout', '0'],
  ["local_preload_libraries = 'nowhere'", 'local_preload_libraries', ''],
  ["datestyle = 'german'", 'datestyle', 'ISO, MDY'],
  ["timezone = 'Asia/Tokyo'", 'timezone', 'UTC'],
  ["bytea_output = 'escape'", 'bytea_output', 'hex'],
  ['transform_null_equals = on', 'transform_null_equals', 'off'],
  ['role = pg_monitor', 'role', 'vaultterm_app'],
] as const

/** A login like the application's: the settings of the shared one would be other files' too. */
async function createLogin(roles: string): Promise<string> {
  const login = `stolen_${randomUUID().replaceAll('-', '')}`
  await fixture.superuser(`create role ${login} login password '${login}'`)
  await fixture.superuser(`grant ${roles} to ${login}`)
  onTestFinished(async () => {
    await fixture.superuser(`drop role ${login}`)
  })
  const url = new URL(fixture.urls.app.reveal())
  Object.assign(url, { username: login, password: login })
  return url.href
}

async function runAs(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(text)
  } finally {
    await client.end()
  }
}

test.each(settings)(
  'attack: a login that gives itself %s changes no later connection of ours',
  async (set, name, expected) => {
    const url = await createLogin('vaultterm_app, vaultterm_system, pg_monitor')
    await runAs(url, `alter role current_user set ${set}`)
    await using database = fixture.open('vaultterm_app', {}, url)
    const [row] = await database.write(tenant, (tx) =>
      tx.many<{ slug: string; value: string }>(
        'select slug, current_setting($1) as value from tenant',
        [name],
      ),
    )
    expect(row).toEqual({ slug: expect.any(String), value: expected })
    await database.ping()

    const heard = vi.fn()
    const listening = await database.listen('test_settings', heard)
    await fixture.superuser("select pg_notify('test_settings', 'told')")
    await vi.waitFor(() => expect(heard).toHaveBeenCalledWith('told'), 30_000)
    await listening.close()
  },
)

test('attack: the owner’s login that gives itself settings keeps no node from migrating', async () => {
  const url = await createLogin('vaultterm_test_owner')
  await runAs(url, "alter role current_user set search_path = 'nowhere'")
  await runAs(url, 'alter role current_user set statement_timeout = 1')
  const given = { directory: 'migrations', log: silent, url: new Secret(url) }
  expect(await migrate(given)).toMatchObject({ applied: [] })
})

test('keeps what the operator sets for a database, and the options of its URL', async () => {
  const url = await createLogin('vaultterm_app, vaultterm_system')
  const asSuperuser = (text: string) =>
    runAs(`${fixture.superuserUrl}?options=-c%20default_transaction_read_only%3Doff`, text)
  await asSuperuser(`alter database ${fixture.name} set default_transaction_read_only = on`)
  onTestFinished(() =>
    asSuperuser(`alter database ${fixture.name} reset default_transaction_read_only`),
  )
  const given = `${url}?options=-c%20work_mem%3D5MB%20-c%20search_path%3Dnowhere`
  await using database = fixture.open('vaultterm_app', {}, given)
  await expect(database.ping()).rejects.toMatchObject({ code: 'ERR_DATABASE_UNAVAILABLE' })
  const row = await database.read(tenant, (tx) =>
    tx.one("select current_setting('work_mem') as memory, count(*)::int as tenants from tenant"),
  )
  expect(row).toEqual({ memory: '5MB', tenants: 1 })
})

test.each(['database', 'login'])(
  'attack: no connection of ours is made after a superuser turned all triggers off for the %s',
  async (whose) => {
    const url = await createLogin('vaultterm_app, vaultterm_system')
    const { username } = new URL(url)
    const of =
      whose === 'database'
        ? `database ${fixture.name}`
        : `role ${username} in database ${fixture.name}`
    await fixture.superuser(`alter ${of} set session_replication_role = replica`)
    onTestFinished(async () => {
      await fixture.superuser(`alter ${of} reset session_replication_role`)
    })
    await using database = fixture.open('vaultterm_app', {}, url)
    await expect(database.ping()).rejects.toMatchObject({
      code: 'ERR_DATABASE_ROLE',
      message: expect.stringContaining('session_replication_role is not origin'),
    })
    await expect(database.write(tenant, (tx) => tx.run('select 1'))).rejects.toThrow(/no trigger/)
    await expect(database.listen('test_settings', () => {})).rejects.toThrow(/no trigger/)
    const given = { directory: 'migrations', log: silent, url: new Secret(url) }
    await expect(migrate(given)).rejects.toThrow(/no trigger/)
  },
)

test('attack: an open connection whose triggers are off is not ready', async () => {
  const url = await createLogin('vaultterm_app, vaultterm_system')
  const { username } = new URL(url)
  await fixture.superuser(
    `grant set on parameter session_replication_role to ${username}, vaultterm_app`,
  )
  onTestFinished(async () => {
    await fixture.superuser(
      `revoke set on parameter session_replication_role from ${username}, vaultterm_app`,
    )
  })
  await using database = fixture.open('vaultterm_app', { connectionsMax: 1 }, url)
  await database.ping()
  await database.write(tenant, (tx) => tx.run('set session_replication_role = replica'))
  await expect(database.ping()).rejects.toMatchObject({ code: 'ERR_DATABASE_ROLE' })
})

test('tells which settings somebody gave the database', async () => {
  await fixture.superuser(`alter database ${fixture.name} set work_mem = '5MB'`)
  expect(await fixture.app.system(listDatabaseSettings)).toEqual(['work_mem=5MB'])
  await fixture.superuser(`alter database ${fixture.name} reset work_mem`)
  expect(await fixture.app.system(listDatabaseSettings)).toEqual([])
})

test('tells which logins have settings of their own', async () => {
  const url = await createLogin('vaultterm_app, vaultterm_system')
  await runAs(url, `alter role current_user in database ${fixture.name} set work_mem = '5MB'`)
  await runAs(url, "alter role current_user set search_path = 'nowhere'")
  const found = await fixture.app.system(listLoginSettings)
  const login = new URL(url).username
  expect(found.filter((one) => one.login === login)).toEqual([
    { login, setting: 'search_path=nowhere' },
    { login, setting: 'work_mem=5MB' },
  ])
})
