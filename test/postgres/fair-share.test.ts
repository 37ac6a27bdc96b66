import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { openDatabase } from '../../src/postgres/index.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

const database = await openTestDatabase()

const open = () =>
  openDatabase({
    url: database.urls.app,
    role: 'vaultterm_app',
    log: silent,
    metrics: new Registry(),
    limits: { connectionsMax: 6, waitMs: 60_000 },
  })

test('attack: transactions that wait for one tenant’s log leave connections for others', async () => {
  await using pool = open()
  const [hostile, polite] = [await database.createTenant(), await database.createTenant()]
  const released = Promise.withResolvers<void>()
  let begun = 0
  const waiting = Array.from({ length: 50 }, () =>
    pool.write(hostile, async (tx) => {
      await tx.one('select 1 as one')
      begun++
      await released.promise
    }),
  )
  await expect.poll(() => begun).toBeGreaterThan(1)
  for (let time = 0; time < 20; time++) {
    expect(await pool.read(polite, (tx) => tx.one('select 1 as one'))).toEqual({ one: 1 })
  }
  expect(begun).toBeLessThan(6)
  released.resolve()
  await Promise.all(waiting)
  expect(begun).toBe(50)
})

test('attack: a tenant whose line is full is refused, and no other tenant is', async () => {
  await using pool = openDatabase({
    url: database.urls.app,
    role: 'vaultterm_app',
    log: silent,
    metrics: new Registry(),
    limits: { connectionsMax: 6, waitMs: 60_000, waitingMax: 10 },
  })
  const [hostile, polite] = [await database.createTenant(), await database.createTenant()]
  const released = Promise.withResolvers<void>()
  const asked = Array.from({ length: 50 }, () => pool.write(hostile, () => released.promise))
  const settled = Promise.allSettled(asked)
  expect(await pool.read(polite, (tx) => tx.one('select 1 as one'))).toEqual({ one: 1 })
  released.resolve()
  const refused = (await settled).filter(({ status }) => status === 'rejected')
  expect(refused.length).toBeGreaterThan(20)
})
