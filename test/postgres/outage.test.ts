import { pino } from 'pino'
import { Registry } from 'prom-client'
import { expect, test, vi } from 'vitest'
import { openDatabase } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { openWay } from '../support/database-way.ts'
import { openTestDatabase } from '../support/postgres.ts'

const database = await openTestDatabase()

// Run with unhandled errors counted as failures: a lost connection must not end the process.
test.each([
  ['in the middle of a statement', 'select pg_sleep(10)'],
  ['between two statements', undefined],
])('survives that the connection is lost %s', async (_when, running) => {
  const tenant = await database.createTenant()
  const way = await openWay(database.urls.app)
  const app = database.open('vaultterm_app', {}, way.url)
  await app.ping()
  const lost = app.read(tenant, async (tx) => {
    const asked = running === undefined ? undefined : tx.many(running)
    setTimeout(() => way.cut(), 50)
    await asked
    await new Promise((resolve) => setTimeout(resolve, 150))
    await tx.many('select 1 as one')
  })
  await expect(lost).rejects.toMatchObject({ code: 'ERR_DATABASE_UNAVAILABLE' })
  way.mend()
  await app.ping()
})

test('logs nothing when the server ends connections that are being closed', async () => {
  const way = await openWay(database.urls.app)
  const lines: string[] = []
  const app = openDatabase({
    url: new Secret(way.url),
    role: 'vaultterm_app',
    log: pino({ level: 'warn' }, { write: (line) => void lines.push(line) }),
    metrics: new Registry(),
  })
  await app.ping()
  way.hold()
  await app.close()
  // The server has not heard of the close: its last words meet a connection that waits for its end.
  await database.superuser(
    `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid()`,
  )
  await expect.poll(way.open).toBe(0)
  expect(lines).toEqual([])
})

test('attack: is not said to answer while it refuses the statements of every act', async () => {
  await database.superuser('alter table tenant rename to tenant_of_others')
  await expect(database.app.ping()).rejects.toMatchObject({
    code: 'ERR_DATABASE_UNAVAILABLE',
    message: expect.stringContaining('42P01'),
  })
  await database.superuser('alter table tenant_of_others rename to tenant')
  await database.app.ping()
})

test('attack: is not said to be ready while its disk has no room for an act', async () => {
  const tenant = await database.createTenant()
  const add = (name: string) =>
    database.app.write(tenant, (tx) =>
      tx.run('insert into app_user (name, role) values ($1, $2)', [name, 'member']),
    )
  // What the server answers to the first write that needs a new block.
  await database.superuser(`
    create function no_room() returns trigger language plpgsql as $$
    begin raise exception using errcode = '53100', message = 'No space left on device'; end $$;
    create trigger no_room before insert on app_user for each row execute function no_room()`)
  const full = {
    code: 'ERR_DATABASE_UNAVAILABLE',
    message: expect.stringContaining('disk is full'),
  }
  await expect(add('demo')).rejects.toMatchObject(full)
  await expect(database.app.ping()).rejects.toMatchObject(full)
  await database.superuser('drop trigger no_room on app_user; drop function no_room()')
  await add('demo')
  await vi.waitFor(() => database.app.ping(), { timeout: 15_000, interval: 500 })
})
