import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { beforeAll, expect, test } from 'vitest'
import { systemTenant, type TenantId } from '../../src/postgres/index.ts'
import { encodeLogin, openVaultFixture, wish } from './vault-fixture.ts'

const fixture = await openVaultFixture()
const { vault, database } = fixture
let tenant: TenantId

beforeAll(async () => {
  tenant = await database.createTenant()
  await vault.createSshKeys(tenant)
})

const sealed = { code: 'ERR_VAULT_SEALED' }

test('does nothing while it is sealed, in any process, and all again afterwards', async () => {
  const other = await fixture.another()
  const login = async (one: typeof vault) => {
    const lease = await one.lease(tenant, wish)
    return one.sign(lease.id, encodeLogin({ key: lease.publicKey }), 'rsa-sha2-512')
  }
  await login(vault)
  await login(other)
  const [mine, theirs] = [await vault.lease(tenant, wish), await other.lease(tenant, wish)]

  await other.seal()
  for (const one of [vault, other]) {
    expect(await one.status()).toMatchObject({ sealed: true, provider: 'file' })
    await expect(one.lease(tenant, wish)).rejects.toMatchObject(sealed)
    await expect(one.createSshKeys(tenant)).rejects.toMatchObject(sealed)
  }
  const data = encodeLogin({ key: mine.publicKey })
  await expect(vault.sign(mine.id, data, 'rsa-sha2-512')).rejects.toMatchObject(sealed)
  // Whoever seals also takes back the leases it gave.
  await expect(other.sign(theirs.id, data, 'rsa-sha2-512')).rejects.toMatchObject({
    reason: 'lease',
  })
  // A public key that cannot be checked is told to nobody.
  await expect(vault.describe(tenant, 'admin_ssh')).rejects.toMatchObject(sealed)

  await vault.unseal()
  expect((await vault.describe(tenant, 'admin_ssh')).publicKey).toMatch(/^ssh-rsa /)
  expect(await other.status()).toMatchObject({ sealed: false })
  await login(other)
  await login(vault)
})

test('has wiped the key from the memory of every process soon after it was sealed', async () => {
  const other = await fixture.another()
  await other.status()
  await vault.lease(tenant, wish)
  const place = { tenant, path: 'x', version: 1, kind: 'wrappedDek' } as const
  await fixture.kek.wrap(Buffer.alloc(32), place)
  await other.seal()
  // The first vault was asked nothing since: the notification alone must do it.
  await expect
    .poll(() => fixture.kek.wrap(Buffer.alloc(32), place).then(Boolean, (err) => err.code), {
      timeout: 10_000,
    })
    .toBe('ERR_VAULT_SEALED')
  await other.unseal()
})

test('goes on when word of a seal comes that is over, whatever is underway', async () => {
  const newcomer = await database.createTenant()
  const made = vault.createSshKeys(newcomer)
  let isMade = false
  made.then(
    () => (isMade = true),
    () => (isMade = true),
  )
  while (!isMade) {
    await database.superuser("select pg_notify('vaultterm_vault_seal', '')")
    await new Promise((done) => setTimeout(done, 20))
  }
  await made
  expect((await vault.describe(newcomer, 'admin_ssh')).version).toBe(1)
})

test('attack: a notification wipes no key while the vault is open', async () => {
  await vault.lease(tenant, wish)
  let heard = 0
  const listening = await database.app.listen('vaultterm_vault_seal', () => {
    heard += 1
  })
  const aside = `${fixture.kekPath}-aside`
  renameSync(fixture.kekPath, aside)
  try {
    for (let count = 0; count < 50; count++) {
      await database.superuser("select pg_notify('vaultterm_vault_seal', '')")
    }
    await expect.poll(() => heard).toBe(50)
    // A key that was wiped could not be read again.
    await vault.lease(tenant, wish)
    const place = { tenant, path: 'x', version: 1, kind: 'wrappedDek' } as const
    await fixture.kek.wrap(Buffer.alloc(32), place)
  } finally {
    renameSync(aside, fixture.kekPath)
    await listening.close()
  }
})

/** Somebody has the application's login of the database. */
const asApp = (statement: string) => database.app.write(systemTenant, (tx) => tx.run(statement))

const forgeries: readonly (readonly [string, () => Promise<unknown>])[] = [
  ['a bare flag', () => asApp('update vault_state set sealed = false')],
  [
    'a proof that is none',
    () => asApp("update vault_state set sealed = false, open_proof = 'open'"),
  ],
  [
    'the seal check for a proof',
    () => asApp('update vault_state set sealed = false, open_proof = seal_check'),
  ],
]

test.each(forgeries)('attack: %s takes no seal off, in any process', async (_, forge) => {
  const other = await fixture.another()
  const before = await fixture.count('bastion_vault_refusals_total', { reason: 'seal-forged' })
  await vault.lease(tenant, wish)
  await other.lease(tenant, wish)
  await vault.seal()
  await forge()
  const late = await fixture.another()
  const forged = { code: 'ERR_VAULT_SEAL_FORGED' }
  for (const one of [vault, late, other]) {
    // The seal comes to the other one as word, which may be on its way.
    await expect.poll(() => one.lease(tenant, wish).catch((err) => err)).toMatchObject(forged)
    await expect(one.status()).rejects.toMatchObject(forged)
  }
  expect(await fixture.count('bastion_vault_refusals_total', { reason: 'seal-forged' })).toBe(
    before + 1,
  )
  await other.unseal()
  await vault.lease(tenant, wish)
  expect((await fixture.events(systemTenant)).at(-1)).toMatchObject({ type: 'vault.unseal' })
})

test('attack: the proof of an earlier opening takes no later seal off, and its name cannot be chosen', async () => {
  await vault.seal()
  await vault.unseal()
  const [old] = await database.superuser<{ seal: string; proof: Buffer }>(
    'select seal_id as seal, open_proof as proof from vault_state',
  )
  await vault.seal()
  await asApp(
    `update vault_state set sealed = false, open_proof = '\\x${old?.proof.toString('hex')}'`,
  )
  await expect(vault.status()).rejects.toMatchObject({ code: 'ERR_VAULT_SEAL_FORGED' })
  await expect(asApp(`update vault_state set seal_id = '${old?.seal}'`)).rejects.toThrow(
    'permission denied',
  )
  await vault.unseal()
  expect(await vault.status()).toMatchObject({ sealed: false })
})

test('has each change of the seal once in the log of the platform', async () => {
  const changes = async () =>
    (await fixture.events(systemTenant)).filter(({ type }) => type.startsWith('vault.'))
  const before = (await changes()).length
  await vault.seal()
  await vault.seal()
  await vault.unseal()
  await vault.unseal()
  const { kekId } = await vault.status()
  expect((await changes()).slice(before)).toEqual([
    { type: 'vault.seal', public: { provider: 'file', kek: kekId } },
    { type: 'vault.unseal', public: { provider: 'file', kek: kekId } },
  ])
})

test('tells the wrong key from a damaged secret, and seals nothing under it', async () => {
  const wrong = await fixture.another(await fixture.newKek())
  const refused = { code: 'ERR_KEK_WRONG' }
  await expect(wrong.status()).rejects.toMatchObject(refused)
  await expect(wrong.lease(tenant, wish)).rejects.toMatchObject(refused)
  const newcomer = await database.createTenant()
  await expect(wrong.createSshKeys(newcomer)).rejects.toMatchObject(refused)
  const rows = await database.superuser('select from vault_kek where tenant_id = $1', [newcomer])
  expect(rows.length).toBe(0)
})

test('stays sealed when the key cannot be read again, or is another one by now', async () => {
  const path = await fixture.newKek()
  const own = await fixture.another()
  await own.seal()
  const wrong = await fixture.another(path)
  await expect(wrong.unseal()).rejects.toMatchObject({ code: 'ERR_KEK_WRONG' })
  expect((await own.status()).sealed).toBe(true)
  rmSync(path)
  await expect(wrong.unseal()).rejects.toMatchObject({ code: 'ERR_KEK_UNREADABLE' })
  writeFileSync(path, 'changed', { mode: 0o600 })
  await expect(wrong.unseal()).rejects.toMatchObject({ code: 'ERR_KEK_UNREADABLE' })
  expect((await own.status()).sealed).toBe(true)
  await own.unseal()
  expect((await vault.status()).sealed).toBe(false)
})

test('makes its state once, however many processes come first', async () => {
  const rows = await database.superuser('select kek_id from vault_state')
  expect(rows).toEqual([{ kek_id: fixture.kek.id }])
  await expect(
    database.superuser("insert into vault_state (kek_id, seal_check) values ('file:0', '')"),
  ).rejects.toThrow()
})

test('lets no customer change the seal, whatever it gets into a statement', async () => {
  const unseal = database.app.write(tenant, (tx) =>
    tx.run('update vault_state set sealed = not sealed'),
  )
  expect(await unseal).toBe(0)
  await expect(
    database.app.write(tenant, (tx) => tx.run('delete from vault_state')),
  ).rejects.toThrow(/permission denied/)
})
