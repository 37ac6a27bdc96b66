import { expect, test } from 'vitest'
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
