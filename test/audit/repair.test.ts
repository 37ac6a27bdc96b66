import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, expect, test } from 'vitest'
import { type AuditEvent, createAudit } from '../../src/audit/index.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import { checkLog, createTestSigner, deleteLog, tamper } from '../support/audit.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

const database = await openTestDatabase()
const signer = createTestSigner()
const directory = await mkdtemp(join(tmpdir(), 'vaultterm-repair-'))
afterAll(() => rm(directory, { recursive: true }))

const newNode = (home: string) =>
  createAudit({
    database: database.app,
    log: silent,
    metrics: new Registry(),
    signer: async () => signer,
    signedHeads: join(directory, home),
    owner: database.urls.owner,
  })
const audit = newNode('home')
const order = {
  actor: { kind: 'operator', id: 'cli', name: 'ann' },
  reason: 'a disk was restored',
}
const opened: AuditEvent = {
  type: 'session.open',
  public: { session: 's-1' },
  private: { login: 'root' },
}

async function openLog(): Promise<TenantId> {
  const tenant = await database.createTenant()
  for (let at = 1; at <= 9; at += 1) {
    await audit.append(tenant, opened)
    if (at % 4 === 0) await audit.checkpoint(tenant)
  }
  return tenant
}

const attack = (tenant: TenantId, statement: string) => tamper(database, tenant, statement)

async function expectSound(tenant: TenantId, size: number): Promise<void> {
  await checkLog(database.app, tenant, size)
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size, signedSize: size })
  // And it goes on.
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  await checkLog(database.app, tenant, size + 1)
}

test.each([
  [
    'hashes of another log',
    "update audit_tree set hashes = array[sha256('a'), sha256('b')] where tenant_id = TENANT",
  ],
  ['no hashes', "update audit_tree set hashes = '{}' where tenant_id = TENANT"],
  [
    'a head that is behind its leaves',
    "update audit_tree set size = 0, hashes = '{}' where tenant_id = TENANT",
  ],
  [
    'a size that no number holds',
    'update audit_tree set size = 9223372036854775807 where tenant_id = TENANT',
  ],
  ['a null among the hashes', 'update audit_tree set hashes[1] = null where tenant_id = TENANT'],
  ['a head that is gone', 'delete from audit_tree where tenant_id = TENANT'],
  [
    'no hashes and a checkpoint that our key did not sign',
    `update audit_tree set hashes = '{}' where tenant_id = TENANT;
     update audit_checkpoint set note = 'x' where tenant_id = TENANT and size = 8`,
  ],
])('mends %s from the leaves, on record', async (_, statement) => {
  const tenant = await openLog()
  await attack(tenant, statement)
  const plan = await audit.planRepair(tenant)
  expect(plan).toMatchObject({ repair: 'head', report: { ok: false, size: 9 } })
  // Nothing was changed by that.
  expect((await audit.verify(tenant)).ok).toBe(false)
  await audit.repair(tenant, plan, order)
  const [last] = await audit.tail(tenant, { limit: 1 })
  expect(last).toMatchObject({
    type: 'audit.repaired',
    public: { repair: 'head', size: '9', signedSize: '8', actor: 'cli', actorKind: 'operator' },
    private: { actorName: 'ann', reason: 'a disk was restored' },
  })
  await expectSound(tenant, 10)
})

test('begins a new epoch over a head and all leaves gone', async () => {
  const tenant = await openLog()
  await attack(tenant, deleteLog)
  const plan = await audit.planRepair(tenant)
  expect(plan).toMatchObject({ repair: 'epoch', report: { ok: false } })
  await audit.repair(tenant, plan, order)
  // The record of the repair, and that the event which was not signed is gone.
  await expectSound(tenant, 2)
})

test('attack: a first leaf that no log has makes no event one that nothing vouches for, unsaid', async () => {
  const tenant = await openLog()
  await attack(
    tenant,
    'update audit_tree set first_leaf = 9223372036854775807 where tenant_id = TENANT',
  )
  const plan = await audit.planRepair(tenant)
  expect(plan).toMatchObject({ repair: 'epoch', report: { ok: false } })
  await audit.repair(tenant, plan, order)
  // The new log is sound and goes on; the nine events before it had no place in the log that was given up.
  await checkLog(database.app, tenant, 1)
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  expect(await audit.verify(tenant)).toMatchObject({
    size: 2,
    signedSize: 2,
    faults: [{ kind: 'former-changed' }],
    faultsTotal: 1,
  })
})

test('tells the caller that the head is damaged, and lets the other tenants append', async () => {
  const [tenant, polite] = [await openLog(), await openLog()]
  for (const damage of [
    "update audit_tree set hashes = '{}' where tenant_id = TENANT",
    "update audit_tree set size = 0, hashes = '{}' where tenant_id = TENANT",
    'update audit_tree set size = 9223372036854775807 where tenant_id = TENANT',
  ]) {
    await attack(tenant, damage)
    await expect(audit.append(tenant, opened), damage).rejects.toMatchObject({
      code: 'ERR_AUDIT_DAMAGED',
      message: expect.stringContaining('vaultterm audit repair'),
    })
    await audit.append(polite, opened)
  }
})

test('has nothing to repair in a sound log', async () => {
  const tenant = await openLog()
  const plan = await audit.planRepair(tenant)
  expect(plan.repair).toBe('none')
  await audit.repair(tenant, plan, order)
  await checkLog(database.app, tenant, 9)
})

test.each([
  [
    'a signed leaf was changed',
    "update audit_leaf set leaf = leaf || '\\x20'::bytea where tenant_id = TENANT and leaf_index = 3",
  ],
  ['a signed leaf is gone', 'delete from audit_leaf where tenant_id = TENANT and leaf_index = 3'],
  [
    'the log was set back',
    'delete from audit_leaf where tenant_id = TENANT and leaf_index >= 2; delete from audit_checkpoint where tenant_id = TENANT',
    ['audit.lost'],
  ],
  [
    'the signed leaves at the end are gone',
    'delete from audit_leaf where tenant_id = TENANT and leaf_index >= 7',
    ['audit.lost'],
  ],
  [
    'a checkpoint that our key signed was moved',
    'update audit_checkpoint set size = 7 where tenant_id = TENANT and size = 8',
  ],
  ['a payload was changed', "update audit_private set payload = '{}' where tenant_id = TENANT"],
])('begins a new log behind the old one when %s', async (_, statement, told: string[] = []) => {
  const tenant = await openLog()
  const before = await audit.verify(tenant)
  await attack(tenant, statement)
  const plan = await audit.planRepair(tenant)
  expect(plan.repair).toBe('epoch')
  await audit.repair(tenant, plan, order)
  const [first, ...rest] = await audit.tail(tenant, { limit: 10 })
  // The last event was not signed, and is in neither log.
  expect(rest.map(({ type }) => type)).toEqual(told)
  const size = 1 + told.length
  expect(first).toMatchObject({
    index: 0,
    type: 'audit.repaired',
    public: { repair: 'epoch', formerOrigin: before.origin, signedSize: '8' },
    private: { reason: 'a disk was restored' },
  })
  const after = await audit.verify(tenant)
  expect(after).toMatchObject({ ok: true, size, signedSize: size, checkpoints: 1 })
  expect(after.origin).not.toBe(before.origin)
  // What is left of the old log stays where it was.
  expect(after.formerLeaves).toBeGreaterThan(0)
  expect(after.formerVerified).toBe(plan.report.size)
  const [kept] = await database.superuser<{ leaves: number }>(
    'select count(*)::int as leaves from audit_leaf where tenant_id = $1',
    [tenant],
  )
  expect(kept?.leaves).toBe(plan.report.size + size)
  await expectSound(tenant, size)
  // After a restart, too.
  expect(await newNode('home').verify(tenant)).toMatchObject({ ok: true, rememberedSize: size + 1 })
})

test.each([
  ['an event of it was changed', 'update audit_leaf set leaf = $$x$$ where leaf_index = 1'],
  ['an event of it is gone', 'delete from audit_leaf where leaf_index = 1'],
  ['its last event is gone', 'delete from audit_leaf where leaf_index = 8'],
  [
    'an event of the one behind it was changed',
    'update audit_leaf set leaf = leaf || $$x$$ where leaf_index = 10',
  ],
  ['all of both is gone', 'delete from audit_leaf where leaf_index < 12'],
])(
  'attack: tells that a former log was changed when %s, and begins no new one for it',
  async (_, statement) => {
    const tenant = await openLog()
    for (const index of [3, 11]) {
      await attack(
        tenant,
        `update audit_leaf set leaf = leaf || '\\x20'::bytea where tenant_id = TENANT and leaf_index = ${index}`,
      )
      await audit.repair(tenant, await audit.planRepair(tenant), order)
      await audit.append(tenant, opened)
      await audit.append(tenant, opened)
      await audit.checkpoint(tenant)
    }
    expect(await audit.verify(tenant)).toMatchObject({ ok: true, formerVerified: 12 })
    await attack(tenant, `${statement} and tenant_id = TENANT`)
    expect(await audit.planRepair(tenant)).toMatchObject({
      repair: 'none',
      report: { ok: false, faults: [{ kind: 'former-changed' }], faultsTotal: 1 },
    })
  },
)

test.each([
  ['changed', "update audit_leaf set leaf = 'rewritten' where leaf_index < 8"],
  ['gone', 'delete from audit_leaf where leaf_index < 9'],
])(
  'attack: a damaged first event of a former log does not hide that older ones are %s',
  async (_, statement) => {
    const tenant = await openLog()
    for (const index of [3, 9]) {
      await attack(
        tenant,
        `update audit_leaf set leaf = leaf || '\\x20'::bytea where tenant_id = TENANT and leaf_index = ${index}`,
      )
      await audit.repair(tenant, await audit.planRepair(tenant), order)
      await audit.append(tenant, opened)
      await audit.checkpoint(tenant)
    }
    for (const act of ['select', `${statement} and tenant_id = TENANT`]) {
      await attack(tenant, act)
      expect(await audit.planRepair(tenant)).toMatchObject({
        repair: 'none',
        report: { ok: false, faults: [{ kind: 'former-changed', at: 9 }], formerVerified: 2 },
      })
    }
  },
)

test('attack: a former log that lost all its events does not hide older ones', async () => {
  const tenant = await openLog()
  await attack(
    tenant,
    'update audit_leaf set leaf = $$x$$ where leaf_index = 3 and tenant_id = TENANT',
  )
  await audit.repair(tenant, await audit.planRepair(tenant), order)
  await attack(tenant, 'delete from audit_leaf where leaf_index >= 9 and tenant_id = TENANT')
  await audit.repair(tenant, await audit.planRepair(tenant), order)
  expect(await audit.verify(tenant)).toMatchObject({ faults: [{ kind: 'former-changed' }] })
})

test('vouches for what it verified of a log that grew while it was given up', async () => {
  const tenant = await openLog()
  await attack(tenant, "update audit_private set payload = '{}' where tenant_id = TENANT")
  const plan = await audit.planRepair(tenant)
  await audit.append(tenant, opened)
  await audit.repair(tenant, plan, order)
  expect(await audit.verify(tenant)).toMatchObject({
    ok: true,
    formerLeaves: 10,
    formerVerified: 9,
  })
})

test('shows a new log to a node that remembers the old one, until it is told', async () => {
  const tenant = await openLog()
  const other = newNode('other-home')
  await other.checkpoint(tenant)
  await attack(tenant, 'delete from audit_leaf where tenant_id = TENANT and leaf_index = 3')
  await audit.repair(tenant, await audit.planRepair(tenant), order)
  await audit.append(tenant, opened)
  await expect(other.checkpoint(tenant)).rejects.toMatchObject({ contradiction: 'replaced' })
  const plan = await other.planRepair(tenant)
  expect(plan.repair).toBe('remember')
  await other.repair(tenant, plan, order)
  expect(await other.verify(tenant)).toMatchObject({ ok: true, size: 2 })
  await other.checkpoint(tenant)
  await expectSound(tenant, 2)
})

test('attack: takes no log of another name for a new epoch', async () => {
  const tenant = await openLog()
  await attack(
    tenant,
    "update audit_tree set origin = 'vaultterm/t/mine', first_leaf = 9, size = 0, hashes = '{}', signed_size = 0 where tenant_id = TENANT",
  )
  const report = await audit.verify(tenant)
  expect(report).toMatchObject({
    ok: false,
    faults: [{ kind: 'log-replaced' }, { kind: 'former-changed' }],
  })
  await expect(audit.checkpoint(tenant)).rejects.toMatchObject({ contradiction: 'replaced' })
  // It does not begin with the record of a repair.
  expect((await audit.planRepair(tenant)).repair).toBe('epoch')
})

test('attack: remembers no new epoch that a superuser began, for our key signed nothing of it', async () => {
  const tenant = await openLog()
  const { origin: formerOrigin } = await audit.verify(tenant)
  await attack(
    tenant,
    "update audit_tree set origin = 'vaultterm/t/theirs', first_leaf = 9, size = 0, hashes = '{}', signed_size = 0 where tenant_id = TENANT",
  )
  // Its first leaf is the one that a repair would have left.
  await audit.append(tenant, {
    type: 'audit.repaired',
    public: { tenant, repair: 'epoch', formerOrigin, formerSize: '9', actorKind: 'operator' },
  })
  const plan = await audit.planRepair(tenant)
  expect(plan).toMatchObject({ repair: 'epoch', report: { signedSize: 0 } })
  expect(plan.report.faults).toMatchObject([{ kind: 'log-replaced' }, { kind: 'former-changed' }])
  await expect(audit.checkpoint(tenant)).rejects.toMatchObject({ contradiction: 'replaced' })
  // A note by another key on it does not help.
  const stranger = createTestSigner()
  const other = createAudit({
    database: database.app,
    log: silent,
    metrics: new Registry(),
    signer: async () => stranger,
  })
  await other.checkpoint(tenant)
  expect((await audit.planRepair(tenant)).repair).toBe('epoch')
  await other.close()
})

test('repairs nothing that has changed since it was verified', async () => {
  const tenant = await openLog()
  await attack(tenant, "update audit_tree set hashes = '{}' where tenant_id = TENANT")
  const plan = await audit.planRepair(tenant)
  await attack(
    tenant,
    "update audit_leaf set leaf = leaf || '\\x20'::bytea where tenant_id = TENANT and leaf_index = 8",
  )
  await expect(audit.repair(tenant, plan, order)).rejects.toMatchObject({
    code: 'ERR_AUDIT_REPAIR',
  })
  expect((await audit.tail(tenant, { limit: 1 })).at(-1)?.type).not.toBe('audit.repaired')
})
