import { readFileSync } from 'node:fs'
import pg from 'pg'
import { PgBoss } from 'pg-boss'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import {
  createJobs,
  type Job,
  type Jobs,
  type Schedule,
  type Working,
} from '../../src/jobs/index.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'
import { jobsOf, probeJobs, probeTables } from '../support/probe-jobs.ts'

const fixture = await openTestDatabase()
await fixture.superuser(probeTables)
const probes = probeJobs(fixture.app)
const metrics = new Registry()
const jobs = createJobs({ database: fixture.app, url: fixture.urls.jobs, log: silent, metrics })
const acme = await fixture.createTenant()
const evil = await fixture.createTenant()
const actor = { kind: 'operator', id: 'cli', name: 'root' } as const

let working: Working
beforeAll(async () => {
  working = await begin(jobs)
})
afterAll(() => working.stop(5000))

async function begin(of: Jobs, schedules: readonly Schedule[] = []): Promise<Working> {
  const made = of.work({ jobs: jobsOf(probes), schedules })
  await vi.waitFor(() => made.requireUp(), 30_000)
  return made
}

let last = 0
const next = () => ++last

function add(tenant: TenantId, kind: Job, n: number): Promise<string | undefined> {
  return fixture.app.write(tenant, (tx) => jobs.add(tx, tenant, kind, { n }))
}

async function idOf(added: Promise<string | undefined>): Promise<string> {
  const id = await added
  if (id === undefined) throw new Error('the job was not added')
  return id
}

const stateOf = async (id: string) => (await jobs.get(id)).state
const written = async (n: number) =>
  (await fixture.superuser<{ tenant: string }>('select tenant from probe where n = $1', [n])).length

test('does the work of an act once the act has committed, and drops it with the act', async () => {
  const [kept, dropped] = [next(), next()]
  const id = await idOf(add(acme, probes.write, kept))
  const failing = fixture.app.write(acme, async (tx) => {
    await jobs.add(tx, acme, probes.write, { n: dropped })
    throw new Error('the act fails')
  })
  await expect(failing).rejects.toThrow('the act fails')
  await expect.poll(() => stateOf(id)).toBe('done')
  expect(await written(kept)).toBe(1)
  const left = await fixture.superuser(
    "select from pgboss.job where data -> 'input' ->> 'n' = $1",
    [String(dropped)],
  )
  expect([left, await written(dropped)]).toEqual([[], 0])
})

test('keeps one waiting job of a key, and none of another tenant’s key', async () => {
  const n = next()
  const later = (tenant: TenantId) =>
    fixture.app.write(tenant, (tx) =>
      jobs.add(tx, tenant, probes.write, { n }, { startAfterSeconds: 3600 }),
    )
  expect(await later(acme)).toBeDefined()
  expect(await later(acme)).toBeUndefined()
  expect(await later(evil)).toBeDefined()
})

test('keeps of a failure its code, and neither words nor fields nor a stack; then tries again', async () => {
  const id = await idOf(add(acme, probes.fail, next()))
  await expect.poll(async () => (await jobs.get(id)).problem).toBe('ERR_PROBE')
  expect(await jobs.get(id)).toMatchObject({
    state: 'waiting',
    tries: 1,
    progress: { done: 1, total: 3, note: 'on the way' },
  })
  const [row] = await fixture.superuser('select * from pgboss.job where id = $1', [id])
  expect(JSON.stringify(row)).not.toContain('hunter2')
  expect(JSON.stringify(row)).not.toContain('.ts:')
  await fixture.superuser('update pgboss.job set start_after = now() where id = $1', [id])
  await expect.poll(() => stateOf(id)).toBe('done')
  expect((await jobs.get(id)).progress).toBeUndefined()
})

test('fails a job that returns without finish, and one of an unknown kind, visibly', async () => {
  const forgets = await idOf(add(acme, probes.forgets, next()))
  const unknown = { ...probes.write, kind: 'probe.of-a-newer-version' }
  const strange = await idOf(add(acme, unknown, next()))
  await expect.poll(async () => (await jobs.get(forgets)).problem).toBe('ERR_JOB_UNFINISHED')
  await expect.poll(async () => (await jobs.get(strange)).problem).toBe('ERR_JOB_UNKNOWN')
})

test('refuses an input that has another shape, or is no list of ids, before the act fails', async () => {
  await fixture.app.write(acme, async (tx) => {
    const wrong = { n: 'one' } as unknown as { n: number }
    await expect(jobs.add(tx, acme, probes.write, wrong)).rejects.toMatchObject({
      code: 'ERR_JOB_INPUT',
    })
    const loose = { ...probes.write, input: (await import('zod')).z.looseObject({}) }
    await expect(jobs.add(tx, acme, loose, { text: 'x'.repeat(2000) })).rejects.toMatchObject({
      code: 'ERR_JOB_INPUT',
    })
    await tx.run('insert into probe (tenant, n) values ($1, 0)', [acme])
  })
})

/** As many as may wait, of which none may begin for an hour. */
async function fill(tenant: TenantId): Promise<void> {
  await fixture.superuser(
    `insert into pgboss.job_common (name, data, policy, group_id, singleton_key, start_after)
       select 'quick', '{"kind":"probe.each","input":{"n":-1}}', 'stately', $1, $1 || ':probe.each:' || i,
         now() + interval '1 hour'
       from generate_series(1, 1000) i`,
    [tenant],
  )
}

test('attack: a tenant that fills its queue reaches its limit, and nobody else’s', async () => {
  const greedy = await fixture.createTenant()
  await fill(greedy)
  await expect(add(greedy, probes.each, -1)).rejects.toMatchObject({ code: 'ERR_JOBS_FULL' })
  // What is refused is an answer: the transaction goes on.
  const other = next()
  await fixture.app.write(greedy, async (tx) => {
    await jobs.add(tx, greedy, probes.each, { n: -1 }).catch(() => {})
    await jobs.add(tx, greedy, probes.write, { n: other })
  })
  await expect.poll(() => written(other)).toBe(1)
  expect(await add(acme, probes.each, next())).toBeDefined()
})

test('attack: a tenant whose jobs hang takes no runner from a polite one', async () => {
  const blocked = await fixture.createTenant()
  const hanging = await Promise.all(
    Array.from({ length: 12 }, async () => idOf(add(blocked, probes.hangBefore, next()))),
  )
  const states = () => Promise.all(hanging.map(stateOf))
  await expect
    .poll(async () => (await states()).filter((state) => state === 'running'))
    .toHaveLength(2)
  for (let i = 0; i < 5; i += 1) {
    const id = await idOf(add(acme, probes.write, next()))
    await expect.poll(() => stateOf(id)).toBe('done')
  }
  expect((await states()).filter((state) => state === 'running').length).toBeLessThanOrEqual(2)
  for (const id of hanging) await jobs.cancel(id, actor)
})

/** Statements of a login that serves, in a transaction of evil's. */
async function asEvil(text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: fixture.urls.app.reveal() })
  await client.connect()
  try {
    await client.query('set role vaultterm_app')
    await client.query("select set_config('app.tenant_id', $1, false)", [evil])
    return (await client.query(text)).rowCount
  } finally {
    await client.end()
  }
}

test('attack: a tenant sees, ends and makes no job of another tenant, by either table', async () => {
  const later = fixture.app.write(acme, (tx) =>
    jobs.add(tx, acme, probes.write, { n: next() }, { startAfterSeconds: 3600 }),
  )
  const id = await idOf(later)
  for (const table of ['pgboss.job', 'pgboss.job_common']) {
    expect(await asEvil(`select from ${table} where group_id = '${acme}'`)).toBe(0)
    expect(await asEvil(`update ${table} set state = 'cancelled' where id = '${id}'`)).toBe(0)
    await expect(asEvil(`delete from ${table}`)).rejects.toMatchObject({ code: '42501' })
  }
  const insert = (group: string, key: string, data = '{}') =>
    asEvil(`insert into pgboss.job_common (name, data, policy, group_id, singleton_key, keep_until)
      values ('quick', '${data}', 'stately', '${group}', '${key}', now() + interval '1 day')`)
  await expect(insert(acme, `${acme}:k`)).rejects.toMatchObject({ code: '42501' })
  // Another tenant's key would keep that tenant's own job out.
  await expect(insert(evil, `${acme}:probe.write:1`)).rejects.toMatchObject({ code: '42501' })
  await expect(insert(evil, `${evil}:k`, `{"x":"${'x'.repeat(5000)}"}`)).rejects.toMatchObject({
    code: '42501',
  })
  expect(await insert(evil, `${evil}:k`)).toBe(1)
  expect(await stateOf(id)).toBe('waiting')
})

test('attack: the queue’s login reads no table of ours, and the bastion’s no job', async () => {
  const client = new pg.Client({ connectionString: fixture.urls.jobs.reveal() })
  await client.connect()
  onTestFinished(() => client.end())
  await client.query('set role vaultterm_jobs')
  for (const table of ['tenant', 'vault_secret', 'audit_leaf', 'job_progress', 'web_session']) {
    await expect(client.query(`select from public.${table}`)).rejects.toMatchObject({
      code: '42501',
    })
  }
  await expect(client.query('create table pgboss.own ()')).rejects.toMatchObject({ code: '42501' })
  await expect(client.query('set role vaultterm_app')).rejects.toMatchObject({ code: '42501' })
  const asBastion = fixture.bastion.write(acme, (tx) => tx.many('select from pgboss.job'))
  await expect(asBastion).rejects.toMatchObject({ code: '42501' })
})

test('attack: a job whose tenant was forged does nothing', async () => {
  const n = next()
  await fixture.superuser(
    `insert into pgboss.job_common (name, data, policy, group_id, singleton_key)
       values ('quick', $1, 'stately', 'no tenant', $2)`,
    [{ kind: 'probe.write', input: { n } }, `forged:${n}`],
  )
  await expect
    .poll(() =>
      fixture.superuser(
        "select output ->> 'message' as problem from pgboss.job where singleton_key = $1",
        [`forged:${n}`],
      ),
    )
    .toEqual([{ problem: 'ERR_JOB_UNKNOWN' }])
  expect(await written(n)).toBe(0)
})

test('attack: a flood of notifications makes no flood of looks', async () => {
  const looks = vi.spyOn(pg.Pool.prototype, 'query')
  const listener = new pg.Client({ connectionString: fixture.urls.bastion.reveal() })
  await listener.connect()
  await listener.query(`do $$ begin for i in 1..2000 loop
      perform pg_notify('vaultterm_jobs_added', case when i % 2 = 0 then 'quick' else 'no lane ' || i end);
      if i % 20 = 0 then commit; end if;
    end loop; end $$`)
  const n = next()
  const id = await idOf(add(acme, probes.write, n))
  await expect.poll(() => stateOf(id)).toBe('done')
  expect(looks.mock.calls.length).toBeLessThan(200)
  looks.mockRestore()
  await listener.end()
})

test('cancels and tries again for operators, and puts both on the tenant’s log', async () => {
  const hanging = await idOf(add(acme, probes.hangBefore, next()))
  await expect.poll(() => stateOf(hanging)).toBe('running')
  expect(await jobs.cancel(hanging, actor)).toMatchObject({ state: 'cancelled' })
  await expect(jobs.cancel(hanging, actor)).rejects.toMatchObject({ code: 'ERR_JOB_STATE' })
  await expect(jobs.retry(hanging, actor)).rejects.toMatchObject({ code: 'ERR_JOB_STATE' })

  const failing = await idOf(add(acme, probes.fail, next()))
  await expect.poll(async () => (await jobs.get(failing)).problem).toBe('ERR_PROBE')
  await fixture.superuser("update pgboss.job set state = 'failed' where id = $1", [failing])
  await jobs.retry(failing, actor)
  await expect.poll(() => stateOf(failing)).toBe('done')
  await expect(jobs.get('00000000-0000-4000-8000-000000000000')).rejects.toMatchObject({
    code: 'ERR_JOB_MISSING',
  })
  await expect(jobs.cancel("'; drop table", actor)).rejects.toMatchObject({
    code: 'ERR_JOB_MISSING',
  })

  const leaves = await fixture.superuser<{ leaf: string }>(
    "select convert_from(leaf, 'UTF8') as leaf from audit_leaf where tenant_id = $1 order by leaf_index",
    [acme],
  )
  const acts = leaves
    .map(({ leaf }) => JSON.parse(leaf))
    .filter(({ typ }) => typ.startsWith('job.'))
  expect(acts).toMatchObject([
    { typ: 'job.cancel', pub: { job: hanging, jobKind: 'probe.hang-before', actor: 'cli' } },
    { typ: 'job.retry', pub: { job: failing, jobKind: 'probe.fail', actorKind: 'operator' } },
  ])
})

test('counts jobs by kind, with no label that anybody else chooses', async () => {
  const page = async () =>
    (await metrics.getMetricsAsJSON()).filter(({ name }) => name.startsWith('bastion_jobs'))
  const kinds = new Set(
    (await page()).flatMap(({ values }) => values.map(({ labels }) => labels.kind)),
  )
  kinds.delete(undefined)
  expect(kinds).toEqual(
    new Set([...jobsOf(probes).map(({ kind }) => kind), 'jobs.tick', 'jobs.each-tenant', 'other']),
  )
})

test('is the schema that the pinned library makes, at its version', async () => {
  const boss = new PgBoss({
    db: {
      executeSql: async (text: string, values: unknown[] = []) => ({
        rows: await fixture.superuser(text, values),
      }),
    },
    migrate: false,
    createSchema: false,
    supervise: false,
    schedule: false,
  })
  const drift = await boss.detectSchemaDrift()
  expect(drift).toMatchObject({ ok: true })
  expect(drift.extraIndexes.map(({ name }) => name).toSorted()).toEqual([
    'job_common_tenant',
    'job_common_waiting',
  ])
  const about = JSON.parse(readFileSync('node_modules/pg-boss/package.json', 'utf8'))
  expect(about.version).toBe('12.38.0')
  expect(await boss.schemaVersion()).toBe(about.pgboss.schema)
})
