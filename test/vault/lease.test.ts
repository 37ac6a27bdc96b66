import { expect, test } from 'vitest'
import type { TenantId } from '../../src/postgres/index.ts'
import { type Lease, Leases } from '../../src/vault/lease.ts'
import { newTenant } from '../support/recording.ts'

const wish = (tenant: TenantId, expiresAtMs = 1000): Omit<Lease, 'id'> => ({
  tenant,
  name: 'ephemeral',
  path: 'ephemeral',
  version: 0,
  login: 'root',
  session: 's-1',
  shown: Buffer.from('key'),
  algorithms: ['ssh-ed25519'],
  hostKey: undefined,
  expiresAtMs,
})
const ephemeral = () => ({
  privateKey: Buffer.from('private'),
  publicKey: Buffer.from('public'),
  certificateAlgorithm: 'ssh-ed25519-cert-v01@openssh.com',
})

test('attack: one tenant’s leases are not used up by another', () => {
  const leases = new Leases(100)
  const [hostile, polite] = [newTenant(), newTenant()]
  const key = ephemeral()
  leases.add({ ...wish(hostile), ephemeral: key }, 0)
  for (let count = 1; count < 100; count += 1) leases.add(wish(hostile), 0)
  expect(() => leases.add(wish(hostile), 0)).toThrow('too many upstream logins')
  const own = Array.from({ length: 40 }, () => leases.add(wish(polite), 0))
  for (const { id } of own) expect(leases.take(id, 0)?.tenant).toBe(polite)
  // The oldest made room, and its key is wiped.
  expect(key.privateKey).toEqual(Buffer.alloc(7))
  // Their room is the other tenant's again.
  for (let count = 0; count < 40; count += 1) leases.add(wish(hostile), 0)
  expect(() => leases.add(wish(hostile), 0)).toThrow('too many upstream logins')
})

test('counts no lease that is spent, expired or cleared', () => {
  const leases = new Leases(3)
  const [tenant, other] = [newTenant(), newTenant()]
  for (let count = 0; count < 10; count += 1) {
    const { id } = leases.add(wish(tenant), 0)
    expect(leases.take(id, 0)?.id).toBe(id)
    expect(leases.take(id, 0)).toBeUndefined()
  }
  for (let count = 0; count < 3; count += 1) leases.add(wish(tenant), 0)
  // All have expired by then.
  for (let count = 0; count < 3; count += 1) leases.add(wish(other, 3000), 2000)
  leases.clear()
  for (let count = 0; count < 3; count += 1) leases.add(wish(tenant), 0)
  expect(() => leases.add(wish(tenant), 0)).toThrow('too many')
})
