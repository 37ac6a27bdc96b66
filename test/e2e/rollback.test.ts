import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { connectSuperuser } from '../support/installation.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** A superuser sets a tenant's log back, under a running installation: it shouts, and goes on. */
let vaultterm: VaultTerm
beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  await vaultterm.json('tenant', 'create', 'globex')
})
afterAll(() => vaultterm?.close())

interface Entry {
  readonly index: number
  readonly type: string
  readonly public: Record<string, string>
}

/** As a superuser, whom no trigger stops. */
async function superuser(statement: string): Promise<void> {
  const client = await connectSuperuser(vaultterm)
  try {
    await client.query(`set session_replication_role = replica; ${statement}`)
  } finally {
    await client.end()
  }
}

const tail = () => vaultterm.json<Entry[]>('audit', 'tail', 'globex')
const readyz = async () => {
  const answer = await fetch(`${vaultterm.ready.portal}/readyz`)
  return { status: answer.status, body: (await answer.json()) as object }
}
const doctor = async () => {
  const { stdout } = await vaultterm.cli(['doctor', '--json'])
  const findings = JSON.parse(stdout) as { name: string; ok: boolean; detail: string }[]
  return findings.find(({ name }) => name === 'audit logs')
}

test('notices a rollback of signed events in doctor, readyz, metrics and the log, and can be mended', async () => {
  for (const name of ['ann', 'bob', 'eve', 'joe'])
    await vaultterm.json('user', 'add', 'globex', name)
  const kept = await vaultterm.cli(['audit', 'checkpoint'])
  const file = join(vaultterm.home, 'kept-checkpoints')
  writeFileSync(file, kept.stdout)
  expect(await vaultterm.json('audit', 'verify', 'globex', '--checkpoint', file)).toMatchObject({
    ok: true,
    kept: 1,
  })
  expect(await doctor()).toMatchObject({ ok: true })
  expect((await readyz()).status).toBe(200)

  const [last] = (await tail()).slice(-1)
  const size = last?.index ?? 0
  const tenant = "(select tenant_id from tenant where slug = 'globex')"
  // The last event and its checkpoints go, and the head is set back to the root of nothing much.
  await superuser(`
    delete from audit_private where event_id in (
      select event_id from audit_leaf where tenant_id = ${tenant} and leaf_index >= 1);
    delete from audit_leaf where tenant_id = ${tenant} and leaf_index >= 1;
    delete from audit_checkpoint where tenant_id = ${tenant};
    update audit_tree set size = 1, signed_size = 0,
      hashes = array[(select leaf_hash from audit_leaf where tenant_id = ${tenant})]
      where tenant_id = ${tenant}`)

  const verified = await vaultterm.cli(['audit', 'verify', 'globex'])
  expect(verified.code).toBe(1)
  expect(verified.stdout).toContain('WRONG  rolled-back')
  const compared = await vaultterm.cli(['audit', 'verify', 'globex', '--checkpoint', file])
  expect(compared.stdout).toContain('a kept checkpoint')
  expect(await doctor()).toMatchObject({
    ok: false,
    detail: expect.stringContaining('globex: rolled-back'),
  })
  await vi.waitFor(
    async () =>
      expect(await readyz()).toMatchObject({
        status: 503,
        body: { checks: { audit: { ok: false, code: 'ERR_AUDIT_INCONSISTENT' } } },
      }),
    { timeout: 60_000, interval: 500 },
  )
  // A collection of metrics serves all readers of a second: this page may be from before.
  await vi.waitFor(async () => {
    const page = await (await fetch(`${vaultterm.ready.portal}/metrics`)).text()
    expect(page).toMatch(/^bastion_audit_inconsistent_logs 1$/m)
  }, 60_000)
  await vi.waitFor(
    async () =>
      expect((await tail()).filter(({ type }) => type === 'audit.inconsistent')).toMatchObject([
        { public: { contradiction: 'rolled-back', signedSize: String(size + 1) } },
      ]),
    { timeout: 60_000, interval: 500 },
  )

  // It shows what it would do, refuses to hide the loss, and begins anew when told why.
  const dry = await vaultterm.cli(['audit', 'repair', 'globex'])
  expect([dry.code, dry.stdout]).toEqual([1, expect.stringContaining('would be begun')])
  const mended = await vaultterm.cli([
    'audit',
    'repair',
    'globex',
    '--new-epoch',
    '--reason',
    'restored an old disk',
    '--yes',
  ])
  expect([mended.code, mended.stderr]).toEqual([0, expect.any(String)])
  expect(await vaultterm.json('audit', 'verify', 'globex')).toMatchObject({ ok: true })
  expect((await tail())[0]).toMatchObject({ index: 0, type: 'audit.repaired' })
  await vi.waitFor(async () => expect((await readyz()).status).toBe(200), {
    timeout: 80_000,
    interval: 500,
  })
  expect(await doctor()).toMatchObject({ ok: true })
})

test('attack: doctor misses a tenant that was deleted with all of its log', async () => {
  await vaultterm.json('tenant', 'create', 'initech')
  await vaultterm.cli(['audit', 'checkpoint'])
  const tenant = "(select tenant_id from tenant where slug = 'initech')"
  await superuser(
    ['audit_private', 'audit_leaf', 'audit_checkpoint', 'audit_unsigned', 'audit_tree', 'tenant']
      .map((table) => `delete from ${table} where tenant_id = ${tenant}`)
      .join(';'),
  )
  expect(await doctor()).toMatchObject({
    ok: false,
    detail: expect.stringContaining('which is gone: rolled-back'),
  })
})

test('attack: a superuser changes the door of the logs, and readyz and doctor name it', async () => {
  const client = await connectSuperuser(vaultterm)
  const door = 'function audit_append('
  try {
    const { rows } = await client.query<{ text: string }>(
      "select pg_get_functiondef('audit_append'::regproc) as text",
    )
    const text = rows[0]?.text ?? ''
    await client.query(text.replace(/^begin$/m, 'begin\n if before is null then return 0; end if;'))
    await vi.waitFor(
      async () =>
        expect(await readyz()).toMatchObject({
          status: 503,
          body: { checks: { schema: { ok: false, code: 'ERR_SCHEMA_CHANGED' } } },
        }),
      { timeout: 60_000, interval: 200 },
    )
    const { stdout } = await vaultterm.cli(['doctor', '--json'])
    expect(JSON.parse(stdout)).toContainEqual(
      expect.objectContaining({
        name: 'schema as migrated',
        ok: false,
        detail: expect.stringContaining(door),
      }),
    )
    await client.query(text)
    const after = await vaultterm.cli(['doctor', '--json'])
    expect(JSON.parse(after.stdout)).toContainEqual(
      expect.objectContaining({ name: 'schema as migrated', ok: true }),
    )
  } finally {
    await client.end()
  }
})
