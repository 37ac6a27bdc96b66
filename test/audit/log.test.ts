import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { type AuditEvent, appendEvent, createAudit } from '../../src/audit/index.ts'
import { insertLeaf } from '../../src/audit/queries.ts'
import { systemTenant } from '../../src/postgres/index.ts'
import { checkLog, createTestSigner } from '../support/audit.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

const database = await openTestDatabase()
const { app, bastion } = database
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
  const append = (role: typeof app) => role.write(tenant, (tx) => appendEvent(tx, opened))
  const receipts = await Promise.all([
    ...Array.from({ length: 20 }, () => append(app)),
    ...Array.from({ length: 20 }, () => append(bastion)),
  ])
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

test('commits nothing where the log is not as it was locked', async () => {
  const tenant = await database.createTenant()
  const id = '0190a5f0-0000-7000-8000-000000000001'
  const leaf = { id, leaf: Buffer.from('{}') }
  const after = (size: number) => ({ size, hashes: [Buffer.alloc(32)] })
  const append = (size: number) =>
    app.write(tenant, (tx) => insertLeaf(tx.last(), leaf, Buffer.alloc(32), after(size)))
  await audit.append(tenant, opened)
  for (const size of [1, 3]) await expect(append(size)).rejects.toMatchObject({ code: '22012' })
  await expectSound(tenant, 1)
  // Control: on the log as it is, it is written, whatever it says.
  await append(2)
  expect(await audit.verify(tenant)).toMatchObject({ ok: false, size: 2 })
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

test('lets the bastion append and read back nothing', async () => {
  const tenant = await database.createTenant()
  await bastion.write(tenant, (tx) => appendEvent(tx, opened))
  for (const table of ['audit_leaf', 'audit_private', 'audit_checkpoint']) {
    const read = bastion.read(tenant, (tx) => tx.many(`select * from ${table}`))
    await expect(read, table).rejects.toMatchObject({ code: '42501' })
  }
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
