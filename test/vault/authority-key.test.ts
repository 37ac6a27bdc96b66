import { beforeAll, expect, test } from 'vitest'
import { lockLog } from '../../src/audit/index.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import type { CertificateOrder } from '../../src/vault/index.ts'
import { makeKey } from '../ssh/certificate-fixture.ts'
import { openVaultFixture } from './vault-fixture.ts'

const { database, vault, events, logged } = await openVaultFixture()
let tenant: TenantId
const authority = { kind: 'user', generation: 1 } as const
const now = BigInt(Math.floor(Date.now() / 1000))

beforeAll(async () => {
  tenant = await database.createTenant('acme')
  await vault.createAuthorityKey(tenant, authority)
  await vault.createAuthorityKey(tenant, { kind: 'host', generation: 1 })
})

const certificate = (more: Partial<CertificateOrder['certificate']> = {}) => ({
  publicKey: makeKey().blob,
  serial: 1n,
  keyId: 't=acme',
  principals: ['user-x'],
  validAfter: now - 30n,
  validBefore: now + 60n,
  criticalOptions: new Map(),
  extensions: new Map(),
  ...more,
})
const sign = (
  more: Partial<CertificateOrder['certificate']> = {},
  of: CertificateOrder['authority'] = authority,
) =>
  vault.signCertificate(
    tenant,
    { authority: of, certificate: certificate(more), event: { public: { certKind: of.kind } } },
    async () => {},
  )
const issues = async () => (await events(tenant)).filter(({ type }) => type === 'cert.issue').length

test.each<[string, Partial<CertificateOrder['certificate']>]>([
  ['that lives longer than a day', { validBefore: now + 90_000n }],
  ['that is valid for ever', { validBefore: 2n ** 64n - 1n }],
  ['that began yesterday', { validAfter: now - 86_400n }],
  ['without a serial', { serial: 0n }],
  ['with a principal of more than one name', { principals: ['Root'] }],
  ['with very many principals', { principals: Array.from({ length: 17 }, (_, i) => `p${i}`) }],
  ['with an option that nobody asked for', { criticalOptions: new Map([['no-such', 'x']]) }],
  ['with a permission that nobody is given', { extensions: new Map([['permit-user-rc', '']]) }],
  ['with a key id that is no plain text', { keyId: 'é' }],
])('signs no certificate %s, and has none on the log', async (_, bent) => {
  const before = await issues()
  await expect(sign(bent)).rejects.toMatchObject({ code: 'ERR_VAULT_REFUSED' })
  expect(await issues()).toBe(before)
  expect(await sign()).toBeInstanceOf(Buffer)
  expect(await issues()).toBe(before + 1)
})

test.each<[string, Partial<CertificateOrder['certificate']>]>([
  ['for nobody', { principals: [] }],
  ['for everybody', { principals: ['*'] }],
  ['for two in one name', { principals: ['a,b'] }],
])('cannot even write one %s', async (_, bent) => {
  await expect(sign(bent)).rejects.toThrow()
})

test('signs for hosts with the key for hosts only, and no options', async () => {
  const host = { kind: 'host', generation: 1 } as const
  expect(await sign({ validBefore: now + 86_400n * 30n }, host)).toBeInstanceOf(Buffer)
  const bent = { extensions: new Map([['permit-pty', '']]) }
  await expect(sign(bent, host)).rejects.toMatchObject({ code: 'ERR_VAULT_REFUSED' })
})

test('has no key of a generation, or of a tenant, that there is not', async () => {
  await expect(sign({}, { kind: 'user', generation: 9 })).rejects.toMatchObject({
    code: 'ERR_VAULT_KEY_MISSING',
  })
  const other = await database.createTenant('globex')
  const order = { authority, certificate: certificate(), event: { public: {} } }
  await expect(vault.signCertificate(other, order, async () => {})).rejects.toMatchObject({
    code: 'ERR_VAULT_KEY_MISSING',
  })
})

test('leases no ephemeral key for a certificate of another', async () => {
  const wish = { login: 'root', session: 's', purpose: 'upstream', expiresInMs: 1000 } as const
  const another = await sign()
  await expect(vault.leaseEphemeral(tenant, wish, async () => another)).rejects.toMatchObject({
    code: 'ERR_VAULT_REFUSED',
  })
})

test('gives nothing out where the order does not stand, and has nothing on the log', async () => {
  const order = {
    authority,
    certificate: certificate(),
    event: { public: { certKind: 'user' } },
  } as const
  const give = (does: string) =>
    vault.signCertificate(tenant, order, async (tx) => {
      await tx.one(`select 1 / ${does} as one`)
    })
  const before = await issues()
  await expect(give('0')).rejects.toMatchObject({ code: '22012' })
  expect(await issues()).toBe(before)
  expect(await give('1')).toBeInstanceOf(Buffer)
  expect(await issues()).toBe(before + 1)
})

test('attack: has one signed before a seal, and waits for the log until it is over', async () => {
  await sign()
  const before = await issues()
  const [held, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const holder = database.app.write(tenant, async (tx) => {
    await lockLog(tx)
    held.resolve()
    await release.promise
  })
  await held.promise
  const waiting = sign()
  waiting.catch(() => {})
  await new Promise((done) => setTimeout(done, 200))
  await vault.seal()
  release.resolve()
  await holder
  await expect(waiting).rejects.toMatchObject({ code: 'ERR_VAULT_SEALED' })
  expect(await issues()).toBe(before)
  // Control: what waits while nobody seals is given out.
  await vault.unseal()
  expect(await sign()).toBeInstanceOf(Buffer)
  expect(await issues()).toBe(before + 1)
})

test.each([
  ['damaged', 'private_key = set_byte(private_key, 90, get_byte(private_key, 90) # 1)', 'DAMAGED'],
  ['under another key', 'dek = set_byte(dek, 90, get_byte(dek, 90) # 1)', 'DAMAGED'],
  ['another', "public_key = replace(public_key, 'AAAAI', 'AAAAJ')", 'DAMAGED'],
  ['gone', "path = 'ca/user/1-gone'", 'MISSING'],
])('signs by nothing that it kept of a key that is %s by now', async (_, change, code) => {
  await sign()
  const columns = 'path, private_key, dek, public_key'
  const table = `vault_secret where tenant_id = '${tenant}' and path = 'ca/user/1'`
  await database.superuser(`create table kept as select ${columns} from ${table}`)
  const where = `where tenant_id = '${tenant}' and path like 'ca/user/1%'`
  await database.superuser(`update vault_secret set ${change} ${where}`)
  await expect(sign()).rejects.toMatchObject({ code: expect.stringContaining(code) })
  await expect(sign()).rejects.toThrow()
  await database.superuser(
    `update vault_secret set (${columns}) = (select ${columns} from kept) ${where}`,
  )
  await database.superuser('drop table kept')
  // Control: as it was, it signs.
  expect(await sign()).toBeInstanceOf(Buffer)
})

test('keeps its keys out of the log of the process', () => {
  expect(logged.join('\n')).not.toContain('PRIVATE')
})
