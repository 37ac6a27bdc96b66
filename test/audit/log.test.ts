import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import {
  type AuditEvent,
  appendEvent,
  appendLastEvent,
  createAudit,
} from '../../src/audit/index.ts'
import { appendLeafHash, type CompactRange, emptyTree, leafHash } from '../../src/audit/merkle.ts'
import { systemTenant, type TenantId } from '../../src/postgres/index.ts'
import { checkLog, createTestSigner } from '../support/audit.ts'
import { newTenantId, openTestDatabase, silent } from '../support/postgres.ts'

const database = await openTestDatabase()
const { app } = database
const signer = createTestSigner()
const audit = createAudit({
  database: app,
  log: silent,
  metrics: new Registry(),
  signer: async () => signer,
})
const opened: AuditEvent = {
  type: 'session.open',
  public: { session: 's-1', target: 't-1' },
  private: { targetName: 'web1', login: 'root' },
}

async function expectSound(tenant: Parameters<typeof audit.verify>[0], size: number) {
  await checkLog(app, tenant, size)
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size, faults: [] })
}

test('gives concurrent appends one order without gaps', async () => {
  const tenant = await database.createTenant()
  const append = () => app.write(tenant, (tx) => appendEvent(tx, opened))
  const receipts = await Promise.all(Array.from({ length: 40 }, append))
  const indexes = receipts.map((receipt) => receipt.leafIndex).toSorted((a, b) => a - b)
  expect(indexes).toEqual(Array.from({ length: 40 }, (_, i) => i))
  await expectSound(tenant, 40)
})

test('drops the leaf when the act it records fails', async () => {
  const tenant = await database.createTenant()
  const act = app.write(tenant, async (tx) => {
    await appendEvent(tx, opened)
    throw new Error('act failed')
  })
  await expect(act).rejects.toThrow('act failed')
  await expectSound(tenant, 0)
})

test('grows a range in the database as its verifier does', async () => {
  const leaves = Array.from({ length: 300 }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)))
  const grow = async (tree: CompactRange, leaf: Buffer): Promise<CompactRange> => {
    const [row] = await database.superuser<{ hashes: Buffer[] }>(
      'select audit_grow($1, $2, $3) as hashes',
      [tree.hashes, tree.size, leaf],
    )
    return { size: tree.size + 1, hashes: row?.hashes ?? [] }
  }
  let tree = emptyTree
  for (const leaf of leaves) {
    const grown = await grow(tree, leaf)
    tree = appendLeafHash(tree, leaf)
    expect(grown).toEqual(tree)
  }
  // Beyond what 32 bits count, where the last leaf completes every subtree that there is, and none.
  const [leaf = Buffer.alloc(0)] = leaves
  for (const size of [2 ** 52 - 1, 2 ** 53 - 2]) {
    const large = { size, hashes: leaves.slice(0, 52) }
    expect(await grow(large, leaf)).toEqual(appendLeafHash(large, leaf))
  }
})

test('appends nothing to a head that is none, and does nothing with it', async () => {
  const [tenant, other] = [await database.createTenant(), await database.createTenant()]
  await audit.append(tenant, opened)
  await audit.append(other, opened)
  const set = (hashes: string) =>
    database.superuser(
      `begin; alter table audit_tree disable trigger user;
       update audit_tree set hashes = ${hashes} where tenant_id = '${tenant}';
       alter table audit_tree enable trigger user; commit`,
    )
  const act = (of: TenantId) =>
    app.write(of, (tx) =>
      Promise.all([tx.run('update tenant set suspended_at = now()'), appendLastEvent(tx, opened)]),
    )
  const suspended = (of: TenantId) =>
    app.read(of, (tx) => tx.one('select suspended_at is not null as suspended from tenant'))
  await set("'{}'")
  await expect(act(tenant)).rejects.toThrow('these are not the hashes of 1 leaves')
  expect(await suspended(tenant)).toEqual({ suspended: false })
  // Control: with the head that it had, both are done.
  await act(other)
  expect(await suspended(other)).toEqual({ suspended: true })
  await expectSound(other, 2)
  const nobody = newTenantId()
  await expect(act(nobody)).rejects.toMatchObject({ code: 'ERR_AUDIT_DAMAGED' })
})

test('puts the name of the log in each leaf, whatever the event holds', async () => {
  const tenant = await database.createTenant()
  await audit.append(tenant, {
    type: 'session.start',
    public: { session: '"log":""' },
    private: { command: '{"log":"","log":""}' },
  })
  await expectSound(tenant, 1)
})

test('keeps the logs of tenants apart', async () => {
  const [acme, globex] = [await database.createTenant(), await database.createTenant()]
  await audit.append(acme, opened)
  await expectSound(acme, 1)
  await expectSound(globex, 0)
  expect(await audit.tail(globex, { limit: 10 })).toEqual([])
})

test('has a log for what belongs to no tenant', async () => {
  await audit.append(systemTenant, { type: 'vault.unseal', public: { provider: 'file' } })
  await expectSound(systemTenant, 1)
})

test('shows the last events, and those after an index', async () => {
  const tenant = await database.createTenant()
  for (const session of ['s-0', 's-1', 's-2']) {
    await audit.append(tenant, { ...opened, public: { session } })
  }
  const last = await audit.tail(tenant, { limit: 2 })
  expect(last).toMatchObject([
    { index: 1, type: 'session.open', public: { session: 's-1' }, private: { login: 'root' } },
    { index: 2, type: 'session.open', public: { session: 's-2' }, private: { login: 'root' } },
  ])
  const [first, ...rest] = await audit.tail(tenant, { after: 0, limit: 1 })
  expect(first).toMatchObject({ index: 1 })
  expect(rest).toEqual([])
})

test('follows a log as it grows, until told to stop', async () => {
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  const stop = new AbortController()
  const seen: number[] = []
  const following = (async () => {
    for await (const { index } of audit.follow(tenant, { after: -1, signal: stop.signal })) {
      seen.push(index)
      if (index === 0) await audit.append(tenant, opened)
      if (index === 1) stop.abort()
    }
  })()
  await following
  expect(seen).toEqual([0, 1])
})

test('refuses a key that the type of event does not have', async () => {
  const tenant = await database.createTenant()
  const named = { type: 'user.add', public: { name: 'Ann Lee' } }
  await expect(audit.append(tenant, named as AuditEvent)).rejects.toMatchObject({
    code: 'ERR_AUDIT_EVENT',
  })
  await expectSound(tenant, 0)
})

test('refuses text in a public value that is no id', async () => {
  const tenant = await database.createTenant()
  const append = audit.append(tenant, { type: 'user.add', public: { user: 'Ann Lee' } })
  await expect(append).rejects.toMatchObject({ code: 'ERR_AUDIT_EVENT' })
  await expectSound(tenant, 0)
})

test.each([
  ['a lone surrogate', 'rm \ud800'],
  ['U+0000', 'rm \0'],
  ['a megabyte', 'x'.repeat(1 << 20)],
  ['escape sequences', '\u001b]0;\u0007'.repeat(2000)],
  ['a surrogate pair at the cut', `${'x'.repeat(4095)}😀`],
  ['nothing', ''],
])('keeps %s that somebody typed, and the log sound', async (_, command) => {
  const tenant = await database.createTenant()
  await audit.append(tenant, {
    type: 'session.start',
    public: { session: 's' },
    private: { command },
  })
  await expectSound(tenant, 1)
})

test.each([
  'update audit_leaf set leaf = leaf',
  'delete from audit_leaf',
  'truncate audit_leaf cascade',
  'update audit_private set salt = salt',
  'delete from audit_private',
  'update audit_checkpoint set note = note',
  'delete from audit_checkpoint',
  'delete from audit_tree',
  "update audit_tree set origin = 'other'",
  "update audit_tree set size = 0, hashes = '{}'",
])('refuses `%s` to the application, and to who owns the table', async (statement) => {
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  await expect(app.write(tenant, (tx) => tx.run(statement))).rejects.toThrow()
  await expect(database.owner(tenant, statement)).rejects.toThrow('audit log')
  await expectSound(tenant, 1)
})
