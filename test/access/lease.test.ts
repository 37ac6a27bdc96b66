import { Registry } from 'prom-client'
import { beforeAll, expect, test } from 'vitest'
import { createAccess } from '../../src/access/index.ts'
import { createAuth, type Identity } from '../../src/auth/index.ts'
import { createCa, loginCertificates } from '../../src/ca/index.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import { formatPublicKey } from '../../src/ssh/index.ts'
import { silent } from '../support/postgres.ts'
import { encodeLogin, openVaultFixture } from '../vault/vault-fixture.ts'
import { actor, allowed, newKey, newTarget, shell, start } from './access-fixture.ts'

const { database, vault, events } = await openVaultFixture()
const deps = { database: database.app, log: silent }
const ca = createCa({ database: database.app, vault, egress: undefined, metrics: new Registry() })
const access = createAccess({
  ...deps,
  database: await database.openServing(),
  vault,
  ca,
  registry: undefined,
  metrics: new Registry(),
})
const auth = createAuth({
  ...deps,
  vault,
  certificates: loginCertificates(ca),
  metrics: new Registry(),
})
let tenant: TenantId
let demo: Identity

beforeAll(async () => {
  tenant = await database.createTenant('acme')
  await vault.createSshKeys(tenant)
  const { id } = await auth.addUser(tenant, { name: 'demo', role: 'member' }, actor)
  const line = formatPublicKey({ type: 'ssh-ed25519', blob: newKey() })
  const { fingerprint } = await auth.addKey(tenant, 'demo', line, {}, actor)
  const user = { id, name: 'demo', role: 'member' as const }
  demo = { tenant, tenantSlug: 'acme', user, keyFingerprint: fingerprint }
  await access.addTarget(tenant, newTarget('web1'), actor)
  await access.addGrant(tenant, { user: 'demo', target: 'web1' }, actor)
})

test('has the vault sign one login, as the login that was authorized and no other', async () => {
  const authorization = allowed(await access.authorize(demo, { login: 'deploy', ...shell }))
  const { session } = await access.startSession(authorization, start)
  const first = await access.leaseKey(authorization, session)
  const asRoot = encodeLogin({ key: first.publicKey, user: 'root' })
  await expect(vault.sign(first.id, asRoot, 'rsa-sha2-512')).rejects.toMatchObject({
    code: 'ERR_VAULT_REFUSED',
  })
  const { id, publicKey } = await access.leaseKey(authorization, session)
  const elsewhere = encodeLogin({ key: publicKey, user: 'deploy', hostKey: newKey() })
  await expect(vault.sign(id, elsewhere, 'rsa-sha2-512')).rejects.toMatchObject({
    code: 'ERR_VAULT_REFUSED',
  })
  const good = await access.leaseKey(authorization, session)
  const login = encodeLogin({ key: good.publicKey, user: 'deploy' })
  expect((await vault.sign(good.id, login, 'rsa-sha2-512')).length).toBeGreaterThan(512)
  // The start is in the log before the use of the key, and both name the session.
  const logged = (await events(tenant)).filter(({ type }) => /^(session|key\.use)/.test(type))
  expect(logged).toMatchObject([
    { type: 'session.start', public: { session } },
    { type: 'key.use', public: { session, lease: good.id } },
  ])
})
