import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { TenantId } from '../../src/postgres/index.ts'
import { createKekFile, openKek } from '../../src/vault/kek.ts'
import { type RecordPlace, sealRecord, useRecord, wrapNewKek } from '../../src/vault/keyring.ts'

const directory = mkdtempSync(join(tmpdir(), 'vaultterm-keyring-'))
afterAll(() => rmSync(directory, { recursive: true }))
await createKekFile(join(directory, 'kek'))
const kek = await openKek(`file:${join(directory, 'kek')}`)

const copy = async (payload: Buffer) => Buffer.from(payload)

test('opens every record of every tenant in its own place, and in no other', async () => {
  const tenants = [newTenant(), newTenant()]
  const rows: Row[] = []
  for (const tenant of tenants) {
    for (const kekVersion of [1, 2]) {
      const tenantKek = await wrapNewKek(kek, tenant, kekVersion)
      for (const path of ['vps/a/admin_ssh', 'vps/a/tenant_ssh']) {
        for (const version of [1, 2]) {
          const place = { tenant, path, version }
          const payload = randomBytes(40)
          const record = await sealRecord(kek, tenantKek, place, payload)
          rows.push({ place, tenantKek, record, payload })
        }
      }
    }
  }
  for (const row of rows) {
    expect(await useRecord(kek, row.tenantKek, row.place, row.record, copy)).toEqual(row.payload)
  }
  // Every pair of rows, in each of the ways somebody with the database's password could mix them.
  for (const one of rows) {
    for (const other of rows) {
      if (one === other) continue
      const { place, tenantKek, record } = one
      const mixes = [
        { dek: other.record.dek },
        { sealed: other.record.sealed },
        // Of the same place the whole record may be another version of it: see docs, "Limits".
        ...(samePlace(one.place, other.place) ? [] : [other.record]),
      ]
      for (const mix of mixes) {
        const mixed = useRecord(kek, tenantKek, place, { ...record, ...mix }, copy)
        await expect(mixed).rejects.toMatchObject({ code: 'ERR_VAULT_DAMAGED' })
      }
      if (other.tenantKek === tenantKek) continue
      const rekeyed = useRecord(kek, other.tenantKek, place, record, copy)
      await expect(rekeyed).rejects.toMatchObject({ code: 'ERR_VAULT_DAMAGED' })
    }
  }
})

test("does not open a tenant's key as another tenant's or version's", async () => {
  const [mine, yours] = [newTenant(), newTenant()]
  const tenantKek = await wrapNewKek(kek, mine, 1)
  const place = { tenant: mine, path: 'vps/a', version: 1 }
  const record = await sealRecord(kek, tenantKek, place, Buffer.from('secret'))
  const wrongs = [
    useRecord(kek, tenantKek, { ...place, tenant: yours }, record, copy),
    useRecord(kek, { ...tenantKek, version: 2 }, place, record, copy),
  ]
  for (const wrong of wrongs) {
    await expect(wrong).rejects.toMatchObject({ code: 'ERR_VAULT_DAMAGED' })
  }
})

test('wipes the payload when its use has ended, also when it failed', async () => {
  const tenant = newTenant()
  const tenantKek = await wrapNewKek(kek, tenant, 1)
  const place = { tenant, path: 'vps/a', version: 1 }
  const record = await sealRecord(kek, tenantKek, place, Buffer.from('secret'))
  let seen: Buffer | undefined
  const use = useRecord(kek, tenantKek, place, record, async (payload) => {
    seen = payload
    expect(payload.toString()).toBe('secret')
    throw new Error('failed')
  })
  await expect(use).rejects.toThrow('failed')
  expect(seen).toEqual(Buffer.alloc(6))
})

interface Row {
  readonly place: RecordPlace
  readonly tenantKek: Awaited<ReturnType<typeof wrapNewKek>>
  readonly record: Awaited<ReturnType<typeof sealRecord>>
  readonly payload: Buffer
}

function samePlace(one: RecordPlace, other: RecordPlace): boolean {
  return one.tenant === other.tenant && one.path === other.path && one.version === other.version
}

function newTenant(): TenantId {
  return randomUUID() as TenantId
}
