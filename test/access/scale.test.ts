import pg from 'pg'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { questionsOf } from '../../bench/scale/questions.ts'
import { createAccess } from '../../src/access/index.ts'
import {
  distributions,
  type LargeTenant,
  makeLargeTenant,
  makeSmallTenants,
} from '../support/large-tenants.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'
import { explain, recordStatements } from '../support/statements.ts'

/** Smaller than `npm run scale`, which also measures: here it is only counted what is read. */
const count = 3000
const database = await openTestDatabase()
const recorded = recordStatements(database.app)
const notAsked = () => Promise.reject(new Error('not asked'))
const access = createAccess({
  database: recorded.database,
  // The rows are made by SQL and have no tags.
  vault: { lease: notAsked, tagging: notAsked, areIntact: async (_, rows) => rows.map(() => true) },
  ca: { leaseUpstream: notAsked, trust: notAsked },
  registry: undefined,
  log: silent,
  metrics: new Registry(),
})
const client = new pg.Client({ connectionString: database.urls.app.reveal() })
const large = new Map<string, LargeTenant>()

beforeAll(async () => {
  const superuser = new pg.Client({ connectionString: database.superuserUrl })
  await superuser.connect()
  try {
    await makeSmallTenants(superuser, { tenants: 500, targets: 5 })
    for (const distribution of distributions) {
      large.set(distribution, await makeLargeTenant(superuser, distribution, count))
    }
    // As autovacuum leaves a table at rest: an index answers by itself only where the rows are known to be
    // visible. While autovacuum itself looks at a table, they are not.
    await vi.waitFor(async () => expect(await vacuum(superuser)).toEqual([]), {
      timeout: 60_000,
      interval: 500,
    })
  } finally {
    await superuser.end()
  }
  await client.connect()
  await client.query('set role vaultterm_app')
})
afterAll(() => client.end())

test.each(distributions)(
  'what is asked at each login and each jump reads a bounded number of rows: grants of %s',
  async (distribution) => {
    const tenant = large.get(distribution)
    if (tenant === undefined) throw new Error('it was made')
    for (const { name, rowsMax, ask } of questionsOf(tenant, count)) {
      recorded.taken()
      await ask(access)
      const statements = recorded.taken()
      expect(statements.length, name).toBeGreaterThan(0)
      if (rowsMax === undefined) continue
      for (const plan of ['custom', 'generic'] as const) {
        const done = []
        for (const each of statements) done.push(await explain(client, tenant.id, each, plan))
        const rowsRead = done.reduce((sum, one) => sum + one.rowsRead, 0)
        const detail = JSON.stringify({ name, plan, done }, undefined, 1)
        expect(
          done.flatMap(({ scanned }) => scanned),
          detail,
        ).toEqual([])
        expect(rowsRead, detail).toBeLessThan(rowsMax)
      }
    }
  },
)

/** Vacuums the database. Gives the tables of which a page is still not known to be visible. */
async function vacuum(superuser: pg.Client): Promise<readonly string[]> {
  await superuser.query('vacuum (analyze)')
  const { rows } = await superuser.query<{ relname: string }>(
    `select relname from pg_class
     where relname in ('access_grant', 'target', 'app_user') and relkind in ('r', 'p')
       and relallvisible < relpages`,
  )
  return rows.map(({ relname }) => relname)
}
