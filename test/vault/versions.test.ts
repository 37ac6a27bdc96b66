import { beforeAll, expect, test } from 'vitest'
import { systemTenant, type TenantId, violation } from '../../src/postgres/index.ts'
import { encodeLogin, openVaultFixture, wish } from './vault-fixture.ts'

/** The attacker has the application's login: it may insert versions of keys, and delete none. */
const fixture = await openVaultFixture()
const { vault, database } = fixture
let tenant: TenantId

beforeAll(async () => {
  tenant = await database.createTenant()
  await vault.createSshKeys(tenant)
  await vault.createAuthorityKey(tenant, { kind: 'user', generation: 1 })
})

const secretColumns = 'kek_version, dek, private_key, public_key, rotation_policy'

async function addSecrets(of: TenantId, version: number): Promise<void> {
  await database.app.write(of, (tx) =>
    tx.run(
      `insert into vault_secret (path, version, ${secretColumns})
         select path, $1, ${secretColumns} from vault_secret where version = 1`,
      [version],
    ),
  )
}

async function addKek(of: TenantId, version: number): Promise<void> {
  await database.app.write(of, (tx) =>
    tx.run(
      `insert into vault_kek (version, wrapped, records_tagged)
         select $1, wrapped, true from vault_kek where version = 1`,
      [version],
    ),
  )
}

/** As of a database that was attacked before it refused such versions. */
async function withoutLimit(work: () => Promise<void>): Promise<void> {
  for (const table of ['vault_secret', 'vault_kek']) {
    await database.superuser(`alter table ${table} drop constraint ${table}_version_few`)
  }
  await work()
  for (const table of ['vault_secret', 'vault_kek']) {
    await database.superuser(
      `alter table ${table} add constraint ${table}_version_few check (version <= 32) not valid`,
    )
  }
}

async function expectUsable(of: TenantId): Promise<void> {
  for (const one of [vault, await fixture.another()]) {
    const lease = await one.lease(of, wish)
    expect(
      await one.sign(lease.id, encodeLogin({ key: lease.publicKey }), 'rsa-sha2-512'),
    ).toBeInstanceOf(Buffer)
    expect(await one.describe(of, 'admin_ssh')).toMatchObject({ version: 1 })
    const record = { kind: 'user-key', id: 'one', fields: [] } as never
    const tag = await one.tagging(of, async (make) => make(record))
    expect(await one.areIntact(of, [{ record, tag }])).toEqual([true])
    const publicKey = await one.createAuthorityKey(of, { kind: 'user', generation: 1 })
    const isOwn = database.app.read(of, (tx) =>
      one.isAuthorityKey(tx, of, { kind: 'user', generation: 1 }, publicKey),
    )
    expect(await isOwn).toBe(true)
  }
}

test('attack: versions that do not open lock no tenant out of its keys, and are reported', async () => {
  await expectUsable(tenant)
  await addKek(tenant, 2)
  await addSecrets(tenant, 2)
  await addSecrets(tenant, 32)
  await withoutLimit(async () => {
    await addKek(tenant, 2_147_483_647)
    await addSecrets(tenant, 2_147_483_647)
  })
  await expectUsable(tenant)
  expect(
    await fixture.count('bastion_vault_refusals_total', { reason: 'changed-secret' }),
  ).toBeGreaterThan(0)
  await expect
    .poll(async () => (await fixture.events(tenant)).map(({ public: facts }) => facts))
    .toContainEqual(
      expect.objectContaining({ record: 'secret', recordId: `vps/${tenant}/admin_ssh` }),
    )
})

test('attack: no login adds a version beyond those that are read', async () => {
  for (const add of [addSecrets, addKek]) {
    const refused = await add(tenant, 33).catch(violation)
    expect(refused).toMatchObject({ kind: 'check' })
  }
})

test('attack: a version that does not open does not stop the signing of the logs', async () => {
  const text = Buffer.from(`log.example\n1\n${Buffer.alloc(32).toString('base64')}\n`)
  const open = await vault.checkpointSigner()
  await addSecrets(systemTenant, 2)
  await withoutLimit(() => addSecrets(systemTenant, 2_147_483_647))
  const fresh = await (await fixture.another()).checkpointSigner()
  expect(fresh.verifierKey).toBe(open.verifierKey)
  expect(await fresh.sign(text)).toEqual(await open.sign(text))
})

test('attack: a row at the path of the next authority does not stop a rotation', async () => {
  await database.app.write(tenant, (tx) =>
    tx.run(
      `insert into vault_secret (path, version, ${secretColumns})
         select 'ca/user/2', 1, ${secretColumns} from vault_secret
           where path = 'ca/user/1' and version = 1`,
    ),
  )
  const own = await vault.createAuthorityKey(tenant, { kind: 'user', generation: 1 })
  const made = await vault.createAuthorityKey(tenant, { kind: 'user', generation: 2 })
  expect(made).not.toEqual(own)
  const other = await fixture.another()
  expect(await other.createAuthorityKey(tenant, { kind: 'user', generation: 2 })).toEqual(made)
})

test('attack: says what to do where every version of the next authority is taken', async () => {
  await database.app.write(tenant, (tx) =>
    tx.run(
      `insert into vault_secret (path, version, ${secretColumns})
         select 'ca/user/3', n, ${secretColumns} from vault_secret, generate_series(1, 32) n
           where path = 'ca/user/1' and version = 1`,
    ),
  )
  await expect(
    vault.createAuthorityKey(tenant, { kind: 'user', generation: 3 }),
  ).rejects.toMatchObject({
    code: 'ERR_VAULT_VERSIONS',
    message: expect.stringContaining('ca/user/3'),
  })
})

test('attack: a tag that names a key which does not open makes no other row unreadable', async () => {
  const record = { kind: 'user-key', id: 'two', fields: [] } as never
  const tag = await vault.tagging(tenant, async (make) => make(record))
  const naming = (version: number) => {
    const forged = Buffer.from(tag)
    forged.writeUInt32BE(version, 4)
    return { record, tag: forged }
  }
  const rows = [naming(2), naming(2_147_483_647), naming(4_294_967_295), { record, tag }]
  const other = await fixture.another()
  expect(await other.areIntact(tenant, rows)).toEqual([false, false, false, true])
})
