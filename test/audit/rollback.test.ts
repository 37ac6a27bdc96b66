import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, expect, test, vi } from 'vitest'
import { type Audit, type AuditEvent, createAudit } from '../../src/audit/index.ts'
import { systemTenant, type TenantId } from '../../src/postgres/index.ts'
import { createTestSigner, deleteLog, tamper } from '../support/audit.ts'
import { passTime } from '../support/boot-clock.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

/** A superuser sets the database back, and the node notices: also after a restart. */
const database = await openTestDatabase()
const signer = createTestSigner()
const directory = await mkdtemp(join(tmpdir(), 'vaultterm-rollback-'))
afterAll(() => rm(directory, { recursive: true }))

interface Node {
  readonly audit: Audit
  gauge(): Promise<number>
}
const nodes: Node[] = []
// Nodes whose log was set back say at their end which events are gone.
afterAll(() => Promise.allSettled(nodes.map((node) => node.audit.close())))

/** A node with its home: what a restart leaves is the file. */
function startNode(home: string, by = signer): Node {
  const metrics = new Registry()
  const audit = createAudit({
    // A process knows what it appended itself.
    database: database.open('vaultterm_app'),
    log: silent,
    metrics,
    signer: async () => by,
    signedHeads: join(directory, home),
    owner: database.urls.owner,
  })
  const node = {
    audit,
    gauge: async () =>
      Number((await metrics.metrics()).match(/^bastion_audit_inconsistent_logs (\d+)$/m)?.[1]),
  }
  nodes.push(node)
  return node
}

const opened: AuditEvent = { type: 'session.open', public: { session: 's-1' } }

async function grow({ audit }: Node, tenant: TenantId, count: number): Promise<void> {
  for (let at = 0; at < count; at += 1) await audit.append(tenant, opened)
}

async function size(tenant: TenantId): Promise<number> {
  const { size: found } = await database.app.read(tenant, (tx) =>
    tx.one<{ size: number }>('select size from audit_tree'),
  )
  return found
}

/** Everything as it was when the log had so many leaves, as a restored backup would have it. */
async function keepState(tenant: TenantId): Promise<() => Promise<void>> {
  const copy = `kept_${tenant.replaceAll('-', '')}`
  await database.superuser(
    `create table ${copy} as select * from audit_tree where tenant_id = '${tenant}'`,
  )
  const at = await size(tenant)
  return async () => {
    await database.superuser(`set session_replication_role = replica;
      delete from audit_private p using audit_leaf l where p.event_id = l.event_id
        and l.tenant_id = '${tenant}' and l.leaf_index >= ${at};
      delete from audit_leaf where tenant_id = '${tenant}' and leaf_index >= ${at};
      delete from audit_checkpoint where tenant_id = '${tenant}' and size > ${at};
      delete from audit_tree where tenant_id = '${tenant}';
      insert into audit_tree select * from ${copy}`)
  }
}

const count = async (tenant: TenantId) =>
  (await database.superuser(`select from audit_checkpoint where tenant_id = '${tenant}'`)).length

test('signs nothing of a log that was set back, after a restart and after it has grown again', async () => {
  const tenant = await database.createTenant()
  const first = startNode('restart')
  await grow(first, tenant, 5)
  await first.audit.checkpoint(tenant)
  const setBack = await keepState(tenant)
  await grow(first, tenant, 15)
  await first.audit.checkpoint(tenant)
  await first.audit.close()
  await setBack()

  const second = startNode('restart')
  await expect(second.audit.checkpoint(tenant)).rejects.toMatchObject({
    code: 'ERR_AUDIT_INCONSISTENT',
    contradiction: 'rolled-back',
  })
  expect(await second.audit.contradiction(tenant)).toMatchObject({ contradiction: 'rolled-back' })
  expect(await second.audit.verify(tenant)).toMatchObject({
    ok: false,
    rememberedSize: 20,
    faults: [{ kind: 'rolled-back', at: 20, from: 5 }],
  })
  // It grows beyond what was signed: other leaves stand where those stood.
  await grow(second, tenant, 30)
  await expect(second.audit.checkpoint(tenant)).rejects.toMatchObject({
    contradiction: 'rewritten',
  })
  expect(await count(tenant)).toBe(1)
  // Control: a node that remembers nothing would have signed it.
  await startNode('restart-other').audit.checkpoint(tenant)
  expect(await count(tenant)).toBe(2)
  // And what it signed does not make the first one believe it.
  await expect(startNode('restart').audit.checkpoint(tenant)).rejects.toMatchObject({
    contradiction: 'rewritten',
  })
})

test('says so on record, in a metric and as not ready, and goes on signing the others', async () => {
  const [tenant, polite] = [await database.createTenant(), await database.createTenant()]
  const first = startNode('shout')
  await grow(first, tenant, 5)
  const setBack = await keepState(tenant)
  await grow(first, tenant, 5)
  await grow(first, polite, 3)
  await first.audit.checkpointAll()
  first.audit.requireSound()
  await first.audit.close()
  await setBack()
  await grow(first, polite, 3)

  const second = startNode('shout')
  second.audit.startPublisher(50)
  // Nothing is appended to the log that was set back: it is noticed by looking at it.
  await vi.waitFor(
    () => expect(() => second.audit.requireSound()).toThrow('10 of them were signed'),
    {
      timeout: 30_000,
    },
  )
  await vi.waitFor(async () => expect(await second.gauge()).toBe(1), { timeout: 30_000 })
  await vi.waitFor(
    async () => {
      for (const log of [tenant, systemTenant]) {
        const entries = await second.audit.tail(log, { limit: 5 })
        expect(entries.filter(({ type }) => type === 'audit.inconsistent')).toMatchObject([
          { public: { tenant, contradiction: 'rolled-back', signedSize: '10' } },
        ])
      }
    },
    { timeout: 30_000 },
  )
  await vi.waitFor(
    async () =>
      expect(await second.audit.verify(polite)).toMatchObject({ ok: true, signedSize: 6 }),
    { timeout: 30_000 },
  )
  expect((await second.audit.verify(tenant)).ok).toBe(false)
  await second.audit.close()
})

test.each([
  ['its head', 'delete from audit_tree where tenant_id = TENANT', 'is gone'],
  ['the whole log', deleteLog, 'is gone'],
  [
    'the log with its tenant',
    `${deleteLog};
     delete from tenant where tenant_id = TENANT`,
    'is gone',
  ],
  [
    'a hash of the head',
    'update audit_tree set hashes[1] = null where tenant_id = TENANT',
    'not that of its leaves',
  ],
  [
    'the order of checkpoints, by one that is larger than any number',
    `insert into audit_checkpoint select tenant_id, 9223372036854775807, hashes, note
       from audit_checkpoint where tenant_id = TENANT`,
    'checkpoint is invalid',
  ],
])('attack: is not ready where a superuser did away with %s', async (_, statement, told) => {
  const tenant = await database.createTenant()
  const node = startNode(`damage-${tenant}`)
  await grow(node, tenant, 3)
  await node.audit.checkpoint(tenant)
  await tamper(database, tenant, statement)
  await node.audit.close()
  const next = startNode(`damage-${tenant}`)
  expect(await next.audit.remembered()).toContain(tenant)
  expect(await next.audit.contradiction(tenant)).toMatchObject({
    message: expect.stringContaining(told),
  })
  expect(await next.audit.verify(tenant)).toMatchObject({ ok: false })
  next.audit.startPublisher(50)
  await vi.waitFor(() => expect(() => next.audit.requireSound()).toThrow(told), {
    timeout: 30_000,
  })
  await vi.waitFor(async () => expect(await next.gauge()).toBe(1), { timeout: 30_000 })
  await next.audit.close()
  // The other nodes of this file are to know nothing of it.
  await database.superuser(`delete from audit_unsigned where tenant_id = '${tenant}'`)
})

test.each(['audit_checkpoint', 'audit_unsigned'])(
  'attack: is not ready when somebody keeps it from signing, by the grants of %s',
  async (table) => {
    const tenant = await database.createTenant()
    const node = startNode(`grants-${table}`)
    await grow(node, tenant, 3)
    await node.audit.checkpoint(tenant)
    const role = table === 'audit_unsigned' ? 'vaultterm_system' : 'vaultterm_app'
    await database.superuser(`revoke select on ${table} from ${role}`)
    try {
      // What is appended now can be cut later: nothing that is signed has it.
      await grow(node, tenant, 2)
      await node.audit.checkpointAll()
      node.audit.requireSound()
      passTime(61_000)
      await node.audit.checkpointAll()
      expect(() => node.audit.requireSound()).toThrow('permission denied')
      await database.superuser(`grant select on ${table} to ${role}`)
      passTime(61_000)
      await node.audit.checkpointAll()
      node.audit.requireSound()
    } finally {
      await database.superuser(`grant select on ${table} to ${role}`)
    }
  },
)

test('takes a crash between remembering and publishing for what it is', async () => {
  const tenant = await database.createTenant()
  const first = startNode('crash')
  await grow(first, tenant, 4)
  await first.audit.checkpoint(tenant)
  await grow(first, tenant, 4)
  await first.audit.checkpoint(tenant)
  // The crash: the head is in the file, and its checkpoint never came to the database.
  await database.superuser(`set session_replication_role = replica;
    delete from audit_checkpoint where tenant_id = '${tenant}' and size = 8;
    update audit_tree set signed_size = 4 where tenant_id = '${tenant}'`)
  const second = startNode('crash')
  await grow(second, tenant, 1)
  await second.audit.checkpoint(tenant)
  expect(await second.audit.verify(tenant)).toMatchObject({ ok: true, size: 9, signedSize: 9 })
})

test('publishes no checkpoint that it could not remember', async () => {
  const tenant = await database.createTenant()
  const node = startNode('nowhere/at/all')
  await grow(node, tenant, 2)
  await expect(node.audit.checkpoint(tenant)).rejects.toMatchObject({
    code: 'ERR_AUDIT_SIGNED_HEADS',
  })
  expect(await count(tenant)).toBe(0)
})

test('is not ready, and signs nothing, while its memory cannot be read', async () => {
  const tenant = await database.createTenant()
  const node = startNode('unreadable')
  await grow(node, tenant, 2)
  await writeFile(join(directory, 'unreadable'), 'vaultterm-signed-heads/9\n')
  await node.audit.checkpointAll()
  expect(() => node.audit.requireSound()).toThrow('another version')
  expect(await count(tenant)).toBe(0)
  await rm(join(directory, 'unreadable'))
  await node.audit.checkpointAll()
  node.audit.requireSound()
  expect(await count(tenant)).toBe(1)
})

test('attack: finds a log that was signed anew by another key', async () => {
  const tenant = await database.createTenant()
  const first = startNode('key')
  await grow(first, tenant, 3)
  await first.audit.checkpoint(tenant)
  await first.audit.close()
  // A superuser puts a key of their own in the place of ours, and signs every checkpoint anew.
  await database.superuser(`set session_replication_role = replica;
    delete from audit_checkpoint where tenant_id = '${tenant}'`)
  const second = startNode('key', createTestSigner())
  await expect(second.audit.checkpoint(tenant)).rejects.toMatchObject({ contradiction: 'replaced' })
  expect(await second.audit.verify(tenant)).toMatchObject({
    ok: false,
    faults: [{ kind: 'log-replaced', detail: expect.stringContaining('not by our key') }],
  })
})

test('tries one that cannot be signed again later, and the others meanwhile', async () => {
  const [broken, polite] = [await database.createTenant(), await database.createTenant()]
  const node = startNode('backoff')
  await grow(node, broken, 2)
  await grow(node, polite, 2)
  await database.superuser(`set session_replication_role = replica;
    update audit_tree set hashes = array[sha256('x')] where tenant_id = '${broken}'`)
  await node.audit.checkpointAll()
  expect([await count(broken), await count(polite)]).toEqual([0, 1])
  expect(() => node.audit.requireSound()).toThrow('not that of its leaves')
  await grow(node, polite, 2)
  await node.audit.checkpointAll()
  expect([await count(broken), await count(polite)]).toEqual([0, 2])
  const actor = { kind: 'operator', id: 'cli', name: 'ann' }
  await node.audit.repair(broken, await node.audit.planRepair(broken), { actor, reason: 'test' })
  expect(await count(broken)).toBe(1)
  expect(await node.audit.verify(broken)).toMatchObject({ ok: true })
})
