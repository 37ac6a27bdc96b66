import pg from 'pg'
import { Registry } from 'prom-client'
import { afterAll, expect, test } from 'vitest'
import {
  type AuditEvent,
  type CheckpointSigner,
  createAudit,
  formatCheckpoint,
  formatNote,
} from '../../src/audit/index.ts'
import { rootHash } from '../../src/audit/merkle.ts'
import { keyOf } from '../../src/audit/signer.ts'
import { systemTenant, type TenantId } from '../../src/postgres/index.ts'
import { createTestSigner } from '../support/audit.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

/** Somebody has the application's login of the database, and publishes checkpoints of their own. */
const database = await openTestDatabase()
const signer = createTestSigner()
const metrics = new Registry()
const audit = createAudit({
  database: database.app,
  log: silent,
  metrics,
  signer: async () => signer,
  owner: database.urls.owner,
})
const client = new pg.Client({ connectionString: database.urls.app.reveal() })
await client.connect()
await client.query('set role vaultterm_app')
afterAll(async () => {
  await client.end()
  await audit.close()
})

const opened: AuditEvent = { type: 'session.open', public: { session: 's-1' } }
const order = { actor: { kind: 'operator', id: 'cli', name: 'ann' }, reason: 'a stolen login' }

async function grow(tenant: TenantId, count: number): Promise<void> {
  for (let at = 0; at < count; at += 1) await audit.append(tenant, opened)
}

interface Head {
  readonly origin: string
  readonly size: number
  readonly hashes: readonly Buffer[]
}

async function headOf(tenant: TenantId): Promise<Head> {
  return database.app.read(tenant, (tx) => tx.one('select origin, size, hashes from audit_tree'))
}

/** Publishes a note for a head, signed by somebody and named as ours. */
async function forge(tenant: TenantId, head: Head, by: CheckpointSigner): Promise<void> {
  const { origin, size, hashes } = head
  const text = formatCheckpoint({ origin, size, root: rootHash(head) })
  const { keyId } = keyOf(signer, origin)
  const signature = await by.sign(Buffer.from(text))
  const note = formatNote({ text, signatures: [{ name: origin, keyId, signature }] })
  await client.query("select set_config('app.tenant_id', $1, false)", [tenant])
  const { rows } = await client.query('select audit_publish($1, $2, $3) as kept', [
    size,
    hashes,
    note,
  ])
  expect(rows).toEqual([{ kept: true }])
}

const stranger = createTestSigner()
const noise: CheckpointSigner = { ...stranger, sign: async () => Buffer.alloc(64) }
const elsewhere = (head: Head): Head => ({
  ...head,
  hashes: head.hashes.map(() => Buffer.alloc(32, 7)),
})
const counted = async () =>
  Number((await metrics.metrics()).match(/^bastion_audit_forged_checkpoints_total (\d+)$/m)?.[1])

const forgeries: readonly (readonly [string, (tenant: TenantId) => Promise<void>])[] = [
  ['the right head, by a foreign key', async (t) => forge(t, await headOf(t), stranger)],
  ['the right head, with no signature at all', async (t) => forge(t, await headOf(t), noise)],
  [
    'another tree below the head',
    async (t) => {
      const head = await headOf(t)
      await grow(t, 1)
      await forge(t, elsewhere(head), stranger)
    },
  ],
]

test.each(forgeries)('attack: a forged note for %s stops no honest one', async (_, attack) => {
  for (const signed of [0, 3]) {
    const tenant = await database.createTenant()
    if (signed > 0) {
      await grow(tenant, signed)
      await audit.checkpoint(tenant)
    }
    await grow(tenant, 3)
    const before = await counted()
    await attack(tenant)
    const { size } = await headOf(tenant)
    expect(await audit.contradiction(tenant)).toMatchObject({ code: 'ERR_AUDIT_FORGED' })

    await audit.checkpointAll()
    await audit.checkpoint(tenant)
    audit.requireSound()
    expect(await audit.contradiction(tenant)).toBeUndefined()
    // It is told, once, on the tenant's log and on the platform's, and signing goes on above it.
    expect(await counted()).toBe(before + 1)
    for (const log of [tenant, systemTenant]) {
      const entries = await audit.tail(log, { limit: 50 })
      const told = entries.filter(
        (one) => one.type === 'audit.forged' && one.public.tenant === tenant,
      )
      expect(told).toMatchObject([{ public: { count: '1', tenant } }])
    }
    await grow(tenant, 2)
    await audit.checkpoint(tenant)
    const report = await audit.verify(tenant)
    expect(report).toMatchObject({ ok: false, faults: [{ kind: 'checkpoint-signature' }] })
    expect(report.signedSize).toBe(size + 3)

    const plan = await audit.planRepair(tenant)
    expect(plan.repair).toBe('head')
    await audit.repair(tenant, plan, order)
    expect(await audit.verify(tenant)).toMatchObject({ ok: true, signedSize: size + 4 })
    expect((await audit.tail(tenant, { limit: 1 })).at(-1)).toMatchObject({
      type: 'audit.repaired',
      public: { repair: 'head', removedCheckpoints: '1' },
    })
  }
})

test('attack: many forged notes hide no note of ours below them', async () => {
  const tenant = await database.createTenant()
  await grow(tenant, 5)
  await audit.checkpoint(tenant)
  for (let count = 0; count < 130; count += 1) {
    await grow(tenant, 1)
    await forge(tenant, await headOf(tenant), noise)
  }
  await audit.checkpoint(tenant)
  const report = await audit.verify(tenant)
  expect(report).toMatchObject({ ok: false, signedSize: 136, checkpoints: 132, faultsTotal: 130 })
  // More of them than a report names do not make a log of it that must be given up.
  const plan = await audit.planRepair(tenant)
  expect(plan.repair).toBe('head')
  await audit.repair(tenant, plan, order)
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, checkpoints: 3 })
})

test('attack: forged notes hide no log that was set back', async () => {
  const tenant = await database.createTenant()
  await grow(tenant, 4)
  const { origin, hashes } = await headOf(tenant)
  await grow(tenant, 4)
  await audit.checkpoint(tenant)
  const list = hashes.map((node) => `'\\x${node.toString('hex')}'::bytea`).join(', ')
  await database.superuser(`set session_replication_role = replica;
    delete from audit_leaf where tenant_id = '${tenant}' and leaf_index >= 4;
    update audit_tree set size = 4, hashes = array[${list}], signed_size = 0
      where tenant_id = '${tenant}'`)
  await forge(tenant, { origin, size: 4, hashes }, stranger)
  await expect(audit.checkpoint(tenant)).rejects.toMatchObject({ contradiction: 'rolled-back' })
})

test('still signs nothing beside a note of our own key for another tree', async () => {
  const tenant = await database.createTenant()
  await grow(tenant, 2)
  await audit.checkpoint(tenant)
  await grow(tenant, 2)
  const head = await headOf(tenant)
  await grow(tenant, 1)
  await forge(tenant, elsewhere(head), signer)
  await expect(audit.checkpoint(tenant)).rejects.toMatchObject({ contradiction: 'rewritten' })
  // A forged note above it does not bury it.
  await grow(tenant, 1)
  await forge(tenant, await headOf(tenant), stranger)
  await expect(audit.checkpoint(tenant)).rejects.toMatchObject({ contradiction: 'rewritten' })
  await grow(tenant, 1)
  await audit.checkpointAll()
  expect(() => audit.requireSound()).toThrow('not those that were signed')
  const plan = await audit.planRepair(tenant)
  expect(plan.repair).toBe('epoch')
  await audit.repair(tenant, plan, order)
})

test('is not ready while somebody forges as fast as the node appends, and signs afterwards', async () => {
  const tenant = await database.createTenant()
  const node = createAudit({
    database: database.app,
    log: silent,
    metrics: new Registry(),
    signer: async () => signer,
  })
  await grow(tenant, 1)
  await database.superuser(`
    create function forge_always() returns trigger language plpgsql as $$
    begin
      if new.tenant_id = '${tenant}' then
        insert into public.audit_checkpoint (tenant_id, size, hashes, note)
          values (new.tenant_id, new.leaf_index + 1, '{}', 'forged');
      end if;
      return null;
    end $$;
    create trigger forge_always after insert on audit_leaf
      for each row execute function forge_always();
    grant insert on audit_checkpoint to vaultterm_audit`)
  await grow(tenant, 1)
  await expect(node.checkpoint(tenant)).rejects.toMatchObject({ code: 'ERR_AUDIT_FORGED' })
  await node.checkpointAll()
  expect(() => node.requireSound()).toThrow('not signed by our key')
  await database.superuser('drop trigger forge_always on audit_leaf')
  await grow(tenant, 1)
  await node.checkpoint(tenant)
  expect((await node.verify(tenant)).signedSize).toBe((await headOf(tenant)).size)
  await node.close()
})

test('takes away no note that nothing of ours vouches for', async () => {
  const tenant = await database.createTenant()
  await grow(tenant, 2)
  await forge(tenant, await headOf(tenant), stranger)
  const fresh = createAudit({
    database: database.app,
    log: silent,
    metrics: new Registry(),
    signer: async () => signer,
  })
  expect((await fresh.planRepair(tenant)).repair).toBe('epoch')
  await fresh.close()
})
