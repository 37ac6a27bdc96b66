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
  await vi.waitFor(() => expect(owed.has(tenant, session)).toBe(false), { timeout: 15_000 })
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
  await vi.waitFor(() => expect(done.size).toBe(polite.length))
  // A few tries tell that its log takes nothing.
  expect(failed).toBeLessThan(10)
})

test('attack: tenants whose writes hang leave room for the others', async () => {
  const owed = owedWork()
  const hanging = newTenant()
  for (let count = 0; count < 100; count++) {
    owed.add(hanging, newSession(), () => new Promise(() => {}))
  }
  const done = vi.fn(async () => {})
  owed.add(newTenant(), newSession(), done)
  await vi.waitFor(() => expect(done).toHaveBeenCalledOnce())
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
  await vi.waitFor(() => expect(owed.has(tenant, good)).toBe(false), { timeout: 20_000 })
  for (const session of bad) expect(owed.has(tenant, session)).toBe(true)
})
