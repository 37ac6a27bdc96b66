import { pino } from 'pino'
import { Registry } from 'prom-client'
import { expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'
import { createJobs, job, type Schedule, type Working } from '../../src/jobs/index.ts'
import { systemTenant } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

const fixture = await openTestDatabase()
await fixture.superuser(`create table visited (tenant uuid);
  grant select, insert on visited to vaultterm_app`)

const deps = { database: fixture.app, url: fixture.urls.jobs }

/** One node with work that comes back; what its queue complains of is kept. */
function startNode(schedules: readonly Schedule[]): { working: Working; complaints: string[] } {
  const complaints: string[] = []
  const log = pino({ level: 'warn' }, { write: (line: string) => void complaints.push(line) })
  const jobs = createJobs({ ...deps, log, metrics: new Registry() })
  const kinds = schedules.map((one) => one.job)
  const working = jobs.work({ jobs: kinds, schedules })
  onTestFinished(() => working.stop(1000))
  return { working, complaints }
}

const visit = job({
  kind: 'probe.visit',
  lane: 'quick',
  input: z.strictObject({}),
  key: () => 'visit',
  run: (_, turn) =>
    turn.finish(async (tx) => {
      await tx.run('insert into visited (tenant) values ($1)', [turn.tenant])
    }),
})
const schedule: Schedule = {
  name: 'probe.visit',
  everySeconds: 3600,
  spreadSeconds: 1,
  job: visit,
  for: 'each-tenant',
}

const visitors = async () =>
  (await fixture.superuser<{ tenant: string }>('select tenant from visited order by 1')).map(
    ({ tenant }) => tenant,
  )

test('does scheduled work once for each tenant over two nodes, with no more rights than it has', async () => {
  const tenants = [systemTenant]
  // More than one batch.
  for (let i = 0; i < 3; i += 1) tenants.push(await fixture.createTenant())
  await fixture.superuser(
    `insert into tenant (tenant_id, slug, name)
       select gen_random_uuid(), 'many-' || i, 'many' from generate_series(1, 600) i`,
  )
  const [one, other] = [startNode([schedule]), startNode([schedule])]
  // The schedule's first minute is the one that has just passed.
  await expect.poll(async () => (await visitors()).length, { timeout: 150_000 }).toBe(604)
  expect(await visitors()).toEqual(expect.arrayContaining(tenants))

  // The next look finds nothing due, on whichever node it is.
  const jobs = createJobs({ ...deps, log: silent, metrics: new Registry() })
  const look = await fixture.app.write(systemTenant, (tx) =>
    jobs.add(tx, systemTenant, { ...visit, kind: 'jobs.tick', key: () => 'tick' }, {}),
  )
  await vi.waitFor(async () => expect((await jobs.get(look ?? '')).state).toBe('done'), 30_000)
  expect((await jobs.list({ state: 'waiting', limit: 10 })).map(({ kind }) => kind)).toEqual([])
  expect(await visitors()).toHaveLength(604)
  expect([...one.complaints, ...other.complaints]).toEqual([])
})

test('is down, and says why, while its login may not be used; then works by itself', async () => {
  const login = 'vaultterm_test_late'
  await fixture.superuser(`create role ${login} login password '${login}'`)
  onTestFinished(async () => {
    await fixture.superuser(`drop owned by ${login}; drop role ${login}`).catch(() => {})
  })
  const url = new URL(fixture.urls.jobs.reveal())
  Object.assign(url, { username: login, password: login })
  const late = new Secret(url.href)
  const jobs = createJobs({ ...deps, url: late, log: silent, metrics: new Registry() })
  const working = jobs.work({ jobs: [visit], schedules: [] })
  onTestFinished(() => working.stop(1000))
  await vi.waitFor(async () => {
    await expect(working.requireUp()).rejects.toMatchObject({
      code: 'ERR_JOBS_DOWN',
      message: expect.stringContaining('the database role vaultterm_jobs cannot be used'),
    })
  }, 30_000)
  await expect(jobs.look()).rejects.toMatchObject({ code: 'ERR_JOBS_DOWN' })
  // Acts add their jobs all the same.
  const acme = await fixture.createTenant()
  const id = await fixture.app.write(acme, (tx) => jobs.add(tx, acme, visit, {}))
  await fixture.superuser(`grant vaultterm_jobs to ${login}`)
  await vi.waitFor(() => working.requireUp(), 30_000)
  expect(await jobs.look()).toMatchObject({ failed: 0 })
  await vi.waitFor(async () => expect((await jobs.get(id ?? '')).state).toBe('done'), 30_000)
})
