import { Registry } from 'prom-client'
import { expect, onTestFinished, test, vi } from 'vitest'
import { accessMetrics } from '../../src/access/metrics.ts'
import { OwedWork } from '../../src/access/owed-work.ts'
import { DatabaseUnavailable } from '../../src/postgres/index.ts'
import { silent } from '../support/postgres.ts'
import { newSession, newTenant } from '../support/recording.ts'

function owedWork() {
  const owed = new OwedWork(silent, accessMetrics(new Registry()))
  onTestFinished(() => owed.close())
  return owed
}

test('tries again what failed, until it succeeds', async () => {
  const owed = owedWork()
  const [tenant, session] = [newTenant(), newSession()]
  let tries = 0
  const write = async () => {
    if (++tries < 3) throw new DatabaseUnavailable('away')
  }
  await expect(owed.attempt(tenant, session, write)).rejects.toThrow('away')
  expect(owed.has(tenant, session)).toBe(true)
  await vi.waitFor(() => expect(owed.has(tenant, session)).toBe(false), { timeout: 30_000 })
  expect(tries).toBe(3)
})

test('attack: a tenant whose every write fails holds up no other tenant', async () => {
  const owed = owedWork()
  const hostile = newTenant()
  let failed = 0
  for (let count = 0; count < 1000; count++) {
    owed.add(hostile, newSession(), async () => {
      failed += 1
      throw new Error('the log is damaged')
    })
  }
  const polite = Array.from({ length: 20 }, newTenant)
  const done = new Set<string>()
  for (const tenant of polite) owed.add(tenant, newSession(), async () => void done.add(tenant))
  await vi.waitFor(() => expect(done.size).toBe(polite.length), 30_000)
  // A few tries tell that its log takes nothing.
  expect(failed).toBeLessThan(10)
})

test('attack: a tenant whose log takes nothing uses up no room of another', async () => {
  const owed = new OwedWork(silent, accessMetrics(new Registry()), 100)
  onTestFinished(() => owed.close())
  const [hostile, polite] = [newTenant(), newTenant()]
  const theirs = Array.from({ length: 150 }, newSession)
  const fail = async () => {
    throw new Error('the log is damaged')
  }
  for (const session of theirs) owed.add(hostile, session, fail)
  const held = () => theirs.filter((session) => owed.has(hostile, session)).length
  expect(held()).toBe(100)
  let isDown = true
  const done = new Set<string>()
  const ours = Array.from({ length: 30 }, newSession)
  for (const session of ours)
    owed.add(polite, session, async () => {
      if (isDown) throw new DatabaseUnavailable('away')
      done.add(session)
    })
  // None of them is left to a sweep, which does not know what this process knows.
  expect(ours.filter((session) => owed.has(polite, session)).length).toBe(30)
  expect(held()).toBe(70)
  isDown = false
  await vi.waitFor(() => expect(done.size).toBe(30), { timeout: 30_000 })
})

test('attack: tenants whose writes hang leave room for the others', async () => {
  const owed = owedWork()
  const hanging = newTenant()
  for (let count = 0; count < 100; count++) {
    owed.add(hanging, newSession(), () => new Promise(() => {}))
  }
  const done = vi.fn(async () => {})
  owed.add(newTenant(), newSession(), done)
  await vi.waitFor(() => expect(done).toHaveBeenCalledOnce(), 30_000)
})

test('a write that always fails does not keep the others of its tenant behind it', async () => {
  const owed = owedWork()
  const tenant = newTenant()
  const bad = Array.from({ length: 5 }, newSession)
  for (const session of bad) {
    owed.add(tenant, session, async () => {
      throw new Error('this one always fails')
    })
  }
  const good = newSession()
  owed.add(tenant, good, async () => {})
  await vi.waitFor(() => expect(owed.has(tenant, good)).toBe(false), { timeout: 30_000 })
  for (const session of bad) expect(owed.has(tenant, session)).toBe(true)
})
