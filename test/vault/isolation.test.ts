import { createPrivateKey } from 'node:crypto'
import { beforeAll, expect, test } from 'vitest'
import type { TenantId } from '../../src/postgres/index.ts'
import { useRecord } from '../../src/vault/keyring.ts'
import { listSecrets } from '../../src/vault/queries.ts'
import { encodeLogin, openVaultFixture, wish } from './vault-fixture.ts'

const fixture = await openVaultFixture()
const { vault, database } = fixture
let [acme, globex]: TenantId[] = []

beforeAll(async () => {
  acme = await database.createTenant()
  globex = await database.createTenant()
  await vault.createSshKeys(acme)
  await vault.createSshKeys(globex)
})

const tables = ['vault_state', 'vault_kek', 'vault_secret']

test.each(tables)("keeps %s from the bastion's role altogether", async (table) => {
  for (const statement of [`select from ${table}`, `delete from ${table}`]) {
    const asked = database.bastion.write(tenant(acme), (tx) => tx.run(statement))
    await expect(asked).rejects.toThrow(/permission denied/)
  }
})

test.each(['vault_kek', 'vault_secret'])(
  'shows a tenant its own rows of %s only',
  async (table) => {
    const count = async (of: TenantId) => {
      const select = `select count(*)::int as rows from ${table} where tenant_id = $1`
      return (await database.app.read(tenant(acme), (tx) => tx.one<{ rows: number }>(select, [of])))
        .rows
    }
    expect(await count(tenant(acme))).toBeGreaterThan(0)
    expect(await count(tenant(globex))).toBe(0)
    const forced = await database.superuser<{ forced: boolean }>(
      'select relforcerowsecurity as forced from pg_class where relname = $1',
      [table],
    )
    expect(forced).toEqual([{ forced: true }])
  },
)

test('lets the application change and delete no secret', async () => {
  for (const statement of [
    'update vault_secret set public_key = public_key',
    'delete from vault_secret',
    'update vault_kek set wrapped = wrapped',
    'delete from vault_kek',
  ]) {
    const asked = database.app.write(tenant(acme), (tx) => tx.run(statement))
    await expect(asked).rejects.toThrow(/permission denied/)
  }
})

/** What somebody with the database's password may try; after each, the rows are put back. */
const attacks: { what: string; statement: string }[] = [
  {
    what: "one key's private key under the other name",
    statement: `update vault_secret s set private_key = o.private_key from vault_secret o
      where s.tenant_id = o.tenant_id and s.path <> o.path`,
  },
  {
    what: 'one key pair under the other name',
    statement: `update vault_secret s set private_key = o.private_key, dek = o.dek,
      public_key = o.public_key
      from vault_secret o where s.tenant_id = o.tenant_id and s.path <> o.path`,
  },
  {
    what: "one tenant's key pair as another's",
    statement: `update vault_secret s set private_key = o.private_key, dek = o.dek,
      public_key = o.public_key from vault_secret o
      where s.tenant_id <> o.tenant_id and right(s.path, 9) = right(o.path, 9)`,
  },
  {
    what: "one tenant's key pair and key as another's",
    statement: `with k as (
        update vault_kek s set wrapped = o.wrapped from vault_kek o
        where s.tenant_id <> o.tenant_id returning s.version)
      update vault_secret s set private_key = o.private_key, dek = o.dek,
      public_key = o.public_key from vault_secret o, k
      where s.tenant_id <> o.tenant_id and right(s.path, 9) = right(o.path, 9)`,
  },
  {
    what: 'a key pair as its own later version',
    statement: 'update vault_secret set version = version + 1',
  },
  {
    what: 'a flipped bit in a private key',
    statement:
      'update vault_secret set private_key = set_byte(private_key, 500, 255 - get_byte(private_key, 500))',
  },
  {
    what: 'a public key that is not of the private one',
    statement: `update vault_secret s set public_key = o.public_key from vault_secret o
      where s.tenant_id = o.tenant_id and s.path <> o.path`,
  },
]

test.each(attacks)('does not sign with $what', async ({ statement }) => {
  await login(tenant(acme))
  const events = await fixture.events(tenant(acme))
  await database.superuser('create table kept_secret as table vault_secret')
  await database.superuser('create table kept_kek as table vault_kek')
  try {
    await database.superuser(statement)
    await expect(login(tenant(acme))).rejects.toMatchObject({ code: 'ERR_VAULT_DAMAGED' })
  } finally {
    await database.superuser(`
      delete from vault_secret; delete from vault_kek;
      insert into vault_kek table kept_kek; insert into vault_secret table kept_secret;
      drop table kept_secret; drop table kept_kek`)
  }
  // The intent was committed before anything was opened, so the attempt is in the log.
  const after = await fixture.events(tenant(acme))
  expect(after.slice(events.length).map(({ type }) => type)).toEqual(['key.use'])
  await login(tenant(acme))
})

test('leaves nothing of a private key in the database, the logs or the metrics', async () => {
  const needles: Buffer[] = []
  for (const of of [tenant(acme), tenant(globex)]) {
    for (const name of ['admin_ssh', 'tenant_ssh'] as const) {
      needles.push(...partsOf(await privateKeyOf(of, name)))
    }
  }
  const names = await database.superuser<{ name: string }>(
    `select oid::regclass::text as name from pg_class
       where relkind in ('r', 'm') and relname !~ '^pg_toast'`,
  )
  const dump: string[] = []
  for (const { name } of names) {
    const rows = await database.superuser<{ row: string }>(`select t::text as row from ${name} t`)
    dump.push(...rows.map(({ row }) => row))
  }
  const places = {
    database: dump.join('\n'),
    logs: fixture.logged.join(''),
    metrics: await fixture.metrics.metrics(),
  }
  expect(places.database).toContain(`vps/${acme}/admin_ssh`)
  for (const [place, content] of Object.entries(places)) {
    for (const needle of needles) {
      for (const form of formsOf(needle)) expect(content.includes(form), place).toBe(false)
    }
    expect(content.includes('PRIVATE KEY'), place).toBe(false)
  }
  // The control: a dump that held a key would be found out.
  const [first = Buffer.alloc(0)] = needles
  const control = await database.superuser<{ row: string }>(
    'select t::text as row from (select $1::bytea as leaked) t',
    [Buffer.concat([Buffer.from('before'), first, Buffer.from('after')])],
  )
  expect(formsOf(first).some((form) => control[0]?.row.includes(form))).toBe(true)
})

async function login(of: TenantId): Promise<Buffer> {
  const lease = await vault.lease(of, wish)
  return vault.sign(lease.id, encodeLogin({ key: lease.publicKey }), 'rsa-sha2-512')
}

async function privateKeyOf(of: TenantId, name: string): Promise<Buffer> {
  const path = `vps/${of}/${name}`
  const [row] = await database.app.read(of, (tx) => listSecrets(tx, path))
  if (row === undefined) throw new Error('no such secret')
  const place = { tenant: of, path, version: row.version }
  const kek = { version: row.kekVersion, wrapped: row.wrappedKek }
  return useRecord(fixture.kek, kek, place, row, async (pem) => Buffer.from(pem))
}

/** The numbers that make a private key, and pieces from the middle of its PEM. */
function partsOf(pem: Buffer): Buffer[] {
  expect(pem.toString()).toMatch(/^-----BEGIN PRIVATE KEY-----\n/)
  const { d = '', p = '', q = '', dp = '' } = createPrivateKey(pem).export({ format: 'jwk' })
  const numbers = [d, p, q, dp].map((text) => Buffer.from(text, 'base64url').subarray(8, 40))
  return [...numbers, pem.subarray(1200, 1240)]
}

function formsOf(needle: Buffer): string[] {
  // Base64 of the middle of something has one of three alignments.
  const base64 = [0, 1, 2].map((skip) => needle.subarray(skip).toString('base64').slice(0, 36))
  return [needle.toString('latin1'), needle.toString('hex'), ...base64]
}

function tenant(id: TenantId | undefined): TenantId {
  if (id === undefined) throw new Error('the tenants are not made yet')
  return id
}
