import pg from 'pg'
import { Registry } from 'prom-client'
import { afterAll, expect, inject, test } from 'vitest'
import { createAudit } from '../../src/audit/index.ts'
import {
  countStrayPayloads,
  listCheckpointsDown,
  listLeafBytes,
  listLeaves,
  listUnsigned,
  readTree,
} from '../../src/audit/queries.ts'
import type { ReadTx } from '../../src/postgres/index.ts'
import { createTestSigner } from '../support/audit.ts'
import { growLog, makeTenants } from '../support/large-log.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

/** A large log among many: no statement reads more of it than it answers. */
const database = await openTestDatabase()
const url = new URL(inject('postgresUrl'))
url.pathname = `/${database.name}`
const admin = new pg.Client({ connectionString: url.href })
await admin.connect()
afterAll(() => admin.end())
const signer = createTestSigner()
const audit = createAudit({
  database: database.app,
  log: silent,
  metrics: new Registry(),
  signer: async () => signer,
  owner: database.urls.owner,
})
const leaves = 30_000
await makeTenants(admin, 3000)
const tenant = await database.createTenant()
await growLog(admin, tenant, leaves)
const actor = { kind: 'operator', id: 'cli', name: 'ann' }
await audit.repair(tenant, await audit.planRepair(tenant), { actor, reason: 'made' })
await admin.query('vacuum analyze')

interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Rows Removed by Filter'?: number
  readonly Plans?: readonly Plan[]
}

/** The plans of what a query asks, each run. */
async function plansOf(ask: (tx: ReadTx) => Promise<unknown>, system = false): Promise<Plan[]> {
  const plans: Plan[] = []
  const work = async (tx: ReadTx) => {
    const many: ReadTx['many'] = async <Row extends object>(
      text: string,
      values?: readonly unknown[],
    ) => {
      const [row] = await tx.many<{ 'QUERY PLAN': { Plan: Plan }[] }>(
        `explain (analyze, format json) ${text}`,
        values,
      )
      const plan = row?.['QUERY PLAN'][0]?.Plan
      if (plan !== undefined) plans.push(plan)
      return tx.many<Row>(text, values)
    }
    const spy: ReadTx = {
      many,
      maybe: async <Row extends object>(text: string, values?: readonly unknown[]) =>
        (await many<Row>(text, values))[0],
      one: async <Row extends object>(text: string, values?: readonly unknown[]) => {
        const [row] = await many<Row>(text, values)
        if (row === undefined) throw new Error('no row')
        return row
      },
      last: () => spy,
    }
    await ask(spy)
  }
  await (system ? database.app.system(work) : database.app.read(tenant, work))
  return plans
}

const nodes = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodes)]
const rowsRead = (plan: Plan) =>
  (plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0)) * plan['Actual Loops']

test.each<[string, (tx: ReadTx) => Promise<unknown>, boolean]>([
  ['the head', readTree, false],
  ['the last checkpoint', (tx) => listCheckpointsDown(tx, undefined, 1), false],
  ['a page in the middle', (tx) => listLeaves(tx, leaves / 2, 50), false],
  ['the last page', (tx) => listLeaves(tx, leaves - 50, 50), false],
  ['leaves to be signed', (tx) => listLeafBytes(tx, leaves - 10, 50), false],
  ['logs that wait for a checkpoint', (tx) => listUnsigned(tx, [], 50), true],
])('reads no more than it answers of: %s', async (_, ask, system) => {
  const plans = await plansOf(ask, system)
  expect(plans.length).toBeGreaterThan(0)
  for (const node of plans.flatMap(nodes)) {
    expect(rowsRead(node), JSON.stringify(node)).toBeLessThanOrEqual(200)
  }
})

test('counts nothing over a whole log in one statement', async () => {
  const plans = await plansOf(countStrayPayloads)
  expect(plans.length).toBeGreaterThan(2)
  for (const node of plans.flatMap(nodes)) expect(rowsRead(node)).toBeLessThanOrEqual(20_001)
})

test('streams every event, in order', async () => {
  let next = 0
  for await (const { index } of audit.entries(tenant)) {
    expect(index).toBe(next)
    next += 1
  }
  // And the record of the repair.
  expect(next).toBe(leaves + 1)
  expect(await audit.tail(tenant, { limit: 2 })).toMatchObject([
    { index: leaves - 1 },
    { index: leaves, type: 'audit.repaired' },
  ])
})

test('verifies a log that is longer than what it holds at a time', async () => {
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size: leaves + 1, faults: [] })
})

test('signs the log that waits longest first, each in its turn', async () => {
  const waiting = await database.app.system((tx) => listUnsigned(tx, [], 5000))
  // Only logs with leaves: three thousand tenants have none.
  expect(waiting.length).toBeLessThan(3)
  const [first, second] = [await database.createTenant(), await database.createTenant()]
  await audit.append(first, { type: 'session.open', public: { session: 's' } })
  await audit.append(second, { type: 'session.open', public: { session: 's' } })
  await audit.append(first, { type: 'session.open', public: { session: 's' } })
  const listed = (await database.app.system((tx) => listUnsigned(tx, [], 5000))).map(
    (one) => one.tenant,
  )
  expect(listed.filter((one) => one === first || one === second)).toEqual([first, second])
  await audit.checkpoint(first)
  const left = await database.app.system((tx) => listUnsigned(tx, [], 5000))
  expect(left.map((one) => one.tenant)).not.toContain(first)
})

test('keeps of old checkpoints one a minute, an hour and a day, and the last', async () => {
  const thinned = await database.createTenant()
  for (let at = 0; at < 3; at += 1) {
    await audit.append(thinned, { type: 'session.open', public: { session: 's' } })
  }
  // Three checkpoints in each of: the last hour, one minute, one hour, one day.
  await admin.query('set session_replication_role = replica')
  await admin.query(
    `insert into audit_checkpoint (tenant_id, size, hashes, note, created_at)
     select $1, row_number() over (order by at), '{}', 'note', at from (
       select now() - interval '10 minutes' - i * interval '5 seconds' as at from generate_series(0, 2) i
       union all select date_trunc('minute', now() - interval '5 hours') + i * interval '5 seconds'
         from generate_series(0, 2) i
       union all select date_trunc('hour', now() - interval '5 days') + i * interval '5 minutes'
         from generate_series(0, 2) i
       union all select date_trunc('day', now() - interval '60 days') + i * interval '3 hours'
         from generate_series(0, 2) i) made`,
    [thinned],
  )
  await admin.query(
    "update audit_tree set thinned_at = now() - interval '2 hours' where tenant_id = $1",
    [thinned],
  )
  await admin.query('update audit_tree set size = 100, signed_size = 12 where tenant_id = $1', [
    thinned,
  ])
  await admin.query('set session_replication_role = origin')
  await admin.query("select set_config('app.tenant_id', $1, false)", [thinned])
  await admin.query('set role vaultterm_audit')
  await admin.query('select audit_thin()')
  await admin.query('reset role')
  const { rows } = await admin.query<{ size: string }>(
    'select size from audit_checkpoint where tenant_id = $1 order by size',
    [thinned],
  )
  // The largest of each: of the day, the hour and the minute; and all three of the last hour.
  expect(rows.map(({ size }) => Number(size))).toEqual([3, 6, 9, 10, 11, 12])
})
