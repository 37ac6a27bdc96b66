import { expect, test, vi } from 'vitest'
import { TenantLooks } from '../../src/access/tenant-looks.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import { newTenant } from '../support/recording.ts'

test('attack: a flood of hints costs two looks', async () => {
  const seen: TenantId[] = []
  const first = Promise.withResolvers<void>()
  const looks = new TenantLooks(async (tenant) => {
    seen.push(tenant)
    await first.promise
  })
  const tenant = newTenant()
  for (let count = 0; count < 100_000; count++) looks.ask(tenant)
  first.resolve()
  await vi.waitFor(() => expect(seen).toHaveLength(2), 30_000)
  looks.close()
})

test('looks again for a hint that comes while it looks', async () => {
  let looked = 0
  const looks: TenantLooks = new TenantLooks(async (tenant) => {
    if (++looked === 1) looks.ask(tenant)
  })
  looks.ask(newTenant())
  await vi.waitFor(() => expect(looked).toBe(2), 30_000)
  looks.close()
})

test('attack: a tenant whose look hangs, flooded with hints, holds up no other tenant', async () => {
  const hanging = newTenant()
  const seen = new Set<TenantId>()
  const looks = new TenantLooks((tenant) => {
    seen.add(tenant)
    return tenant === hanging ? new Promise(() => {}) : Promise.resolve()
  })
  const others = Array.from({ length: 50 }, newTenant)
  for (let count = 0; count < 1000; count++) looks.ask(hanging)
  for (const tenant of others) looks.ask(tenant)
  await vi.waitFor(() => expect(others.every((tenant) => seen.has(tenant))).toBe(true), 30_000)
  looks.close()
})
