import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import pg from 'pg'
import { Registry } from 'prom-client'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  openDatabase,
  parseTenantId,
  type ReadTx,
  type TenantId,
  violation,
  type WriteTx,
} from '../../src/postgres/index.ts'
import { Transaction } from '../../src/postgres/transaction.ts'
import { newTenantId, openTestDatabase, silent } from '../support/postgres.ts'

const database = await openTestDatabase()
const slugs = 'select slug from tenant order by slug'

// A table like every other, for tests that need rows without a meaning.
await database.superuser(
  `create table probe (
     tenant_id uuid not null default app_tenant_id() references tenant,
     id int not null,
     primary key (tenant_id, id)
   );
   alter table probe owner to vaultterm_test_owner;
   alter table probe enable row level security, force row level security;
   create policy own on probe using (tenant_id = app_tenant_id());
   grant select, insert, delete on probe to vaultterm_app`,
)
const [acme, globex] = [await database.createTenant('acme'), await database.createTenant('globex')]
const insertProbe = (tx: WriteTx, id: number) => tx.run('insert into probe (id) values ($1)', [id])

test('shows a tenant its own rows and nothing of another', async () => {
  const { app } = database
  expect(await app.read(acme, (tx) => tx.many(slugs))).toEqual([{ slug: 'acme' }])
  expect(await app.read(globex, (tx) => tx.many(slugs))).toEqual([{ slug: 'globex' }])
  expect(await app.read(newTenantId(), (tx) => tx.many(slugs))).toEqual([])
})

test('finds tenants across all of them, and not the system’s own, in the role for it', async () => {
  for (const role of [database.app, database.bastion]) {
    expect(await role.system((tx) => tx.many(slugs))).toEqual([
      { slug: 'acme' },
      { slug: 'globex' },
    ])
  }
})

test('lets the bastion find a tenant and not read its name', async () => {
  const read = database.bastion.system((tx) => tx.many('select name from tenant'))
  await expect(read).rejects.toMatchObject({ code: '42501' })
})

test('is back in its serving role after having looked across tenants', async () => {
  const one = database.open('vaultterm_app', { connectionsMax: 1 })
  await one.system((tx) => tx.many(slugs))
  const [row] = await one.read(acme, (tx) => tx.many('select current_user as role'))
  expect(row).toEqual({ role: 'vaultterm_app' })
})

test('refuses to write a row of another tenant', async () => {
  const write = database.app.write(acme, (tx) =>
    tx.run('insert into probe (tenant_id, id) values ($1, 1)', [globex]),
  )
  await expect(write).rejects.toMatchObject({ code: '42501' })
})

test('shows no row and takes none where no tenant is set', async () => {
  const client = new pg.Client({ connectionString: database.urls.app.reveal() })
  await client.connect()
  try {
    await client.query('set role vaultterm_app')
    const setting = async () =>
      (await client.query("select current_setting('app.tenant_id', true) as v")).rows[0].v
    const count = async () =>
      (await client.query('select count(*)::int as n from tenant')).rows[0].n

    expect(await setting()).toBeNull()
    expect(await count()).toBe(0)
    await expect(client.query('insert into probe (id) values (1)')).rejects.toMatchObject({
      code: '42501',
    })

    await client.query(`begin; select set_config('app.tenant_id', '${acme}', true)`)
    expect(await count()).toBe(1)
    await client.query('commit')

    // Not null: a policy that only thought of null would now compare with an empty text.
    expect(await setting()).toBe('')
    expect(await count()).toBe(0)
    await expect(client.query('insert into probe (id) values (1)')).rejects.toMatchObject({
      code: '42501',
    })

    // The control: a setting of the session does leak to whoever has the connection next.
    await client.query(`set app.tenant_id = '${globex}'`)
    expect(await count()).toBe(1)
  } finally {
    await client.end()
  }
})

test('binds who owns the tables too', async () => {
  const client = new pg.Client({ connectionString: database.urls.owner.reveal() })
  await client.connect()
  try {
    expect((await client.query('select * from tenant')).rows).toEqual([])
  } finally {
    await client.end()
  }
})

test('lets no text that is not an id into the setting', async () => {
  const read = database.app.read("x', true); drop table tenant; --" as TenantId, (tx) =>
    tx.many(slugs),
  )
  await expect(read).rejects.toThrow('not a tenant id')
  expect(parseTenantId('x')).toBeUndefined()
  expect(parseTenantId(acme.toUpperCase())).toBeUndefined()
  expect(parseTenantId(acme)).toBe(acme)
})

test('keeps nothing of what fails', async () => {
  const act = database.app.write(acme, async (tx) => {
    await insertProbe(tx, 1000)
    throw new Error('act failed')
  })
  await expect(act).rejects.toThrow('act failed')
  expect(
    await database.app.read(acme, (tx) => tx.many('select from probe where id = 1000')),
  ).toEqual([])
})

test('does not call committed what a failed statement rolled back', async () => {
  const act = database.app.write(acme, async (tx) => {
    await insertProbe(tx, 1001)
    await tx.run('select 1 / 0').catch(() => {})
  })
  await expect(act).rejects.toThrow('after a statement failed')
})

test('refuses a statement sent after its transaction', async () => {
  const one = database.open('vaultterm_app', { connectionsMax: 1 })
  let kept: WriteTx | undefined
  await one.write(acme, async (tx) => {
    kept = tx
  })
  await one.read(globex, async () => {
    await expect(kept?.many(slugs)).rejects.toThrow('the transaction is over')
  })
})

test('lets a reader write nothing', async () => {
  const write = database.app.read(acme, (tx) => insertProbe(tx as WriteTx, 1002))
  await expect(write).rejects.toMatchObject({ code: '25006' })
})

test('sees one moment in a snapshot, and each statement its own without', async () => {
  const counts = async (snapshot: boolean) =>
    database.app.read(
      globex,
      async (tx) => {
        const count = () => tx.one<{ n: number }>('select count(*) as n from probe')
        const before = await count()
        await database.app.write(globex, (other) => insertProbe(other, snapshot ? 1 : 2))
        return (await count()).n - before.n
      },
      { snapshot },
    )
  expect(await counts(true)).toBe(0)
  expect(await counts(false)).toBe(1)
})

test('tells which constraint said no', async () => {
  const twice = database.app.write(acme, async (tx) => {
    await insertProbe(tx, 7)
    await insertProbe(tx, 7)
  })
  const err = await twice.catch((caught: unknown) => caught)
  expect(violation(err)).toEqual({ kind: 'unique', constraint: 'probe_pkey' })
  expect(violation(new Error('other'))).toBeUndefined()
})

test('gives a bigint as a number, and refuses one that a number cannot hold', async () => {
  const read = (value: string) =>
    database.app.read(acme, (tx) => tx.one<{ n: number }>(`select ${value}::bigint as n`))
  expect(await read('9007199254740991')).toEqual({ n: 9_007_199_254_740_991 })
  await expect(read('9007199254740993')).rejects.toThrow()
  expect(await read('1')).toEqual({ n: 1 })
})

test('runs again what lost a deadlock, where that was asked for', async () => {
  let attempts = 0
  const failOnce = (tx: WriteTx) => {
    attempts += 1
    const code = attempts === 1 ? '40P01' : '00000'
    return tx.one(attempts === 1 ? `select pg_temp_raise('${code}')` : 'select 1 as done')
  }
  await database.superuser(
    `create function pg_temp_raise(code text) returns int language plpgsql as
     $$ begin raise exception 'lost' using errcode = code; end $$`,
  )
  expect(await database.app.write(acme, failOnce, { retry: true })).toEqual({ done: 1 })
  expect(attempts).toBe(2)
  attempts = 0
  await expect(database.app.write(acme, failOnce)).rejects.toMatchObject({ code: '40P01' })
})

test('never shows a row of another tenant, whatever happens on two connections', async () => {
  const tenants = await Promise.all(Array.from({ length: 4 }, () => database.createTenant()))
  for (const tenant of tenants) await database.app.write(tenant, (tx) => insertProbe(tx, 0))
  const small = database.open('vaultterm_app', {
    connectionsMax: 2,
    waitingMax: 1000,
    waitMs: 60_000,
    statementMs: 50,
    lockMs: 40,
  })
  let seen = 0
  const rowsOf = async (tx: Pick<WriteTx, 'many'>) => {
    const rows = await tx.many<{ tenant: string }>('select tenant_id as tenant from probe')
    seen += rows.length
    return new Set(rows.map(({ tenant }) => tenant))
  }
  // Which statements take longer than they may is up to the machine.
  const inTime = async <T>(ask: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await ask()
      } catch (err) {
        if (!String(err).includes('a statement took too long')) throw err
      }
    }
  }
  const acts: { [name: string]: (tenant: TenantId, id: number) => Promise<unknown> } = {
    read: (tenant) => small.read(tenant, rowsOf),
    write: (tenant, id) => small.write(tenant, (tx) => insertProbe(tx, id)),
    fail: (tenant, id) =>
      small.write(tenant, async (tx) => {
        await insertProbe(tx, id)
        throw new Error('act failed')
      }),
    breakStatement: (tenant) => small.write(tenant, (tx) => tx.run('select 1 / 0')),
    swallow: (tenant) => small.write(tenant, (tx) => tx.run('nonsense').catch(() => {})),
    timeOut: (tenant) => small.read(tenant, (tx) => tx.many('select pg_sleep(5)')),
    cancel: (tenant) =>
      small.read(tenant, (tx) =>
        tx.many('select pg_cancel_backend(pg_backend_pid()), pg_sleep(1)'),
      ),
    die: (tenant) =>
      small.read(tenant, (tx) =>
        tx.many('select pg_terminate_backend(pg_backend_pid()), pg_sleep(1)'),
      ),
    forget: (tenant) =>
      small.read(tenant, async (tx) => {
        void tx.many('select pg_sleep(0.005)').catch(() => {})
      }),
    // What a careless statement could do to the session.
    leak: (tenant) =>
      small.write(tenant, (tx) =>
        tx.many("select set_config('app.tenant_id', $1, false)", [tenant]),
      ),
    across: () => small.system((tx) => tx.many('select slug from tenant limit 1')),
  }
  const step = fc.record({
    tenant: fc.nat(tenants.length - 1),
    act: fc.constantFrom(...Object.keys(acts)),
  })
  let id = 1
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      await Promise.all(
        steps.map(async ({ tenant: which, act }) => {
          const tenant = tenants[which] ?? acme
          id += 1
          await acts[act]?.(tenant, id).catch(() => {})
          const rows = await inTime(() => small.read(tenant, rowsOf))
          expect([...rows]).toEqual([tenant])
        }),
      )
      await expect(inTime(() => small.system(rowsOf))).rejects.toMatchObject({ code: '42501' })
    }),
    { numRuns: 40 },
  )
  expect(seen).toBeGreaterThan(1000)
  const idle = await database.superuser(
    `select pid from pg_stat_activity where datname = current_database() and state like 'idle in%'`,
  )
  expect(idle).toEqual([])
})

test('counts its connections and times its transactions', async () => {
  const metrics = new Registry()
  const counted = openDatabase({
    url: database.urls.app,
    role: 'vaultterm_app',
    log: silent,
    metrics,
  })
  const second = openDatabase({
    url: database.urls.bastion,
    role: 'vaultterm_bastion',
    log: silent,
    metrics,
  })
  await counted.read(acme, (tx) => tx.many(slugs))
  await second.ping()
  const text = await metrics.metrics()
  expect(text).toMatch(/bastion_database_connections\{role="vaultterm_app",state="idle"\} 1/)
  expect(text).toMatch(/transaction_seconds_count\{role="vaultterm_app",kind="read"\} 1/)
  await Promise.all([counted.close(), second.close()])
})

test('attack: nothing runs outside of a transaction when there is none', async () => {
  const client = new pg.Client({ connectionString: database.urls.app.reveal() })
  await client.connect()
  try {
    await client.query('set role vaultterm_app; create temporary table trace (at int)')
    const rows = async () => (await client.query('select at from trace')).rows
    for (const ask of [
      // What is asked goes along with the start, and is passed over when that fails.
      ({ tx }: Transaction) => tx.run('insert into trace values (1)'),
      ({ tx }: Transaction) => tx.last().run('insert into trace values (2)'),
      (one: Transaction) => one.started(2000),
    ]) {
      const one = new Transaction(client, true)
      one.begin([['begin isolation level nonsense']])
      const asked = ask(one)
      // While that is underway, and by work that takes no notice of it.
      await new Promise(setImmediate)
      const second = one.tx.run('insert into trace values (4)')
      second.catch(() => {})
      await expect(asked).rejects.toThrow('nonsense')
      await expect(second).rejects.toThrow()
      await expect(one.tx.run('insert into trace values (5)')).rejects.toThrow()
      await expect(one.commit()).rejects.toThrow()
      // Nobody gives the connection to the next.
      expect(one.broken).toBe(true)
      expect(await one.rollback()).toBe(false)
      expect(await rows()).toEqual([])
    }
    // Control: behind a start that did not fail, it is run.
    const one = new Transaction(client, true)
    one.begin([['begin']])
    await one.tx.last().run('insert into trace values (3)')
    await one.commit()
    expect(await rows()).toEqual([{ at: 3 }])
  } finally {
    await client.end()
  }
})

test('a connection whose statements a migration has changed is used no more', async () => {
  await database.superuser('create table aged (a int); grant select on aged to vaultterm_app')
  const app = database.open('vaultterm_app', { connectionsMax: 1 })
  const read = () => app.read(acme, (tx) => tx.many('select a from aged'))
  const pid = async () => app.read(acme, (tx) => tx.one('select pg_backend_pid() as pid'))
  await read()
  const before = await pid()
  await database.superuser('alter table aged alter column a type bigint')
  // Once for each connection that is open: which state it is in, nobody can say.
  await expect(read()).rejects.toThrow('cached plan')
  expect(await read()).toEqual([])
  expect(await pid()).not.toEqual(before)
})

test('asks together what does not wait for answers, and passes over what is behind a failure', async () => {
  await database.superuser(
    'create table noted (at int primary key); grant select, insert on noted to vaultterm_app',
  )
  const app = database.open('vaultterm_app', { connectionsMax: 1 })
  const note = (tx: WriteTx, at: number) => tx.run('insert into noted values ($1)', [at])
  const noted = () => app.read(acme, (tx) => tx.many('select at from noted order by at'))
  expect(await app.write(acme, (tx) => Promise.all([note(tx, 1), note(tx, 2)]))).toEqual([1, 1])
  const outcomes: string[] = []
  const failed = app.write(acme, async (tx) => {
    const asked = [note(tx, 3), note(tx, 1), note(tx, 4)]
    for (const one of await Promise.allSettled(asked)) outcomes.push(one.status)
  })
  await expect(failed).rejects.toThrow('work went on')
  expect(outcomes).toEqual(['fulfilled', 'rejected', 'rejected'])
  expect(await noted()).toEqual([{ at: 1 }, { at: 2 }])
})

test('ends with what is asked last, and cannot be asked or undone behind that', async () => {
  await database.superuser(
    `create table lasting (at int primary key deferrable initially deferred);
     grant select, insert on lasting to vaultterm_app`,
  )
  const app = database.open('vaultterm_app', { connectionsMax: 1 })
  const keep = (tx: WriteTx, at: number) => tx.run('insert into lasting values ($1)', [at])
  const kept = () => app.read(acme, (tx) => tx.last().many('select at from lasting order by at'))
  const late = app.write(acme, async (tx) => {
    await keep(tx.last(), 1)
    await keep(tx, 2)
  })
  await expect(late).rejects.toThrow('the transaction is over')
  expect(await kept()).toEqual([{ at: 1 }])
  // What fails only in the commit is no success.
  await expect(app.write(acme, (tx) => keep(tx.last(), 1))).rejects.toMatchObject({ code: '23505' })
  expect(await kept()).toEqual([{ at: 1 }])
  // The connection goes on, with no tenant left on it.
  const left = `select nullif(current_setting('app.tenant_id', true), '') as tenant`
  expect(await app.system((tx) => tx.last().one(left))).toEqual({ tenant: null })
})

describe('what cannot be sent, or understood', () => {
  const open = async () => {
    const table = `t${randomBytes(6).toString('hex')}`
    await database.superuser(
      `create table ${table} (at bigint); grant select, insert on ${table} to vaultterm_app`,
    )
    const app = database.open('vaultterm_app', { connectionsMax: 1 })
    return {
      app,
      insert: (tx: WriteTx, at: number) => tx.run(`insert into ${table} values ($1)`, [at]),
      rows: () => app.read(acme, (tx) => tx.many(`select at from ${table} order by at`)),
      table,
    }
  }
  const unsendable = (tx: ReadTx) => tx.many('select $1::json', [{ a: 1n }])

  test('ends its transaction, and nothing of it is done', async () => {
    const { app, insert, rows } = await open()
    const works: readonly ((tx: WriteTx) => Promise<unknown>)[] = [
      (tx: WriteTx) => Promise.all([insert(tx, 1), unsendable(tx), insert(tx, 2)]),
      (tx: WriteTx) => Promise.all([insert(tx, 3), unsendable(tx.last())]),
      async (tx: WriteTx) => {
        await insert(tx, 4)
        await unsendable(tx).catch(() => {})
        await insert(tx, 5).catch(() => {})
      },
    ]
    for (const work of works) {
      await expect(app.write(acme, work)).rejects.toThrow()
      // The one connection goes on.
      expect(await rows()).toEqual([])
    }
    await app.write(acme, (tx) => insert(tx, 6))
    expect(await rows()).toEqual([{ at: 6 }])
  })

  test('is no outage when it is a number that ours cannot hold', async () => {
    const { app, table } = await open()
    const large = '9007199254740993'
    await database.superuser(`insert into ${table} values (${large})`)
    const read = app.read(acme, (tx) => tx.many(`select at from ${table}`))
    await expect(read).rejects.toThrow(RangeError)
  })

  test('is undone where work throws that had not asked for the last', async () => {
    const { app, insert, rows } = await open()
    const thrown = app.write(acme, async (tx) => {
      void insert(tx, 1).catch(() => {})
      tx.last()
      throw new Error('refused')
    })
    await expect(thrown).rejects.toThrow('refused')
    expect(await rows()).toEqual([])
  })
})

test('gives two statements that are sent together the time of two', async () => {
  const app = database.open('vaultterm_app', { connectionsMax: 1, statementMs: 4000 })
  // Longer than one may take with what the server is given beyond it, and each of them shorter.
  const slow = app.read(acme, (tx) =>
    Promise.all([1, 2, 3].map(() => tx.one('select pg_sleep(3)::text as slept'))),
  )
  expect(await slow).toHaveLength(3)
})

test('attack: settings of another server in the environment reach no connection of ours', async () => {
  const others = { PGSSLMODE: 'require', PGREPLICATION: 'database', PGBINARY: '1', PGPORT: '1' }
  Object.assign(process.env, others)
  onTestFinished(() => {
    for (const name of Object.keys(others)) delete process.env[name]
  })
  const own = openDatabase({
    url: database.urls.app,
    role: 'vaultterm_app',
    log: silent,
    metrics: new Registry(),
  })
  onTestFinished(() => own.close())
  expect(await own.read(acme, (tx) => tx.many(slugs))).toEqual([{ slug: 'acme' }])
})
