import { Registry } from 'prom-client'
import { afterAll, expect, test } from 'vitest'
import { createAdmin } from '../../src/admin/index.ts'
import { createAdminAuth } from '../../src/auth/index.ts'
import { createTenants } from '../../src/tenant/index.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'
import { openTestVault } from '../support/vault.ts'

/** The API of the admin plane over real modules. */
const { app: database } = await openTestDatabase()
const { vault } = await openTestVault(database)
const tenants = createTenants({ database, vault, log: silent })
const metrics = new Registry()
const adminAuth = createAdminAuth({ database, vault, log: silent, metrics })
const host = 'admin.test'
const admin = await createAdmin({
  adminAuth,
  tenants,
  vault,
  metrics,
  log: silent,
  publicUrl: `http://${host}`,
  checks: {},
})
afterAll(() => admin.close())

const { token } = await adminAuth.createLoginLink('root')
const cookie = `vaultterm-admin=${await adminAuth.redeem(token)}`
const actor = { kind: 'operator', id: 'cli', name: 'ops' } as const

async function ask(path: string, headers: Record<string, string> = { cookie }) {
  const answer = await admin.inject({ method: 'GET', url: path, headers: { host, ...headers } })
  return { statusCode: answer.statusCode, body: JSON.parse(answer.body) }
}

test('every route of the API stands in the document, and is nothing for a stranger', async () => {
  const { body: document } = await ask('/api/v1/admin/openapi.json', {})
  const paths: Record<string, Record<string, { 'x-right': string }>> = document.paths
  const described = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(
      ([method, operation]) => `${method.toUpperCase()} ${path} ${operation['x-right']}`,
    ),
  )
  const api = admin.routeRights
    .filter(({ path }) => /^\/api\/v1\/admin\/(?!openapi)/.test(path))
    .map((route) => ({ ...route, path: route.path.replace(':id', '{id}') }))
  expect(described.toSorted()).toEqual(
    api.map(({ method, path, right }) => `${method} ${path} ${right}`).toSorted(),
  )
  const open = api.filter(({ right }) => right !== 'administrator')
  expect(open.map(({ path }) => path)).toEqual([
    '/api/v1/admin/sign-in/passkey/options',
    '/api/v1/admin/sign-in/passkey',
  ])
  for (const { method, path: url } of api.filter((route) => !open.includes(route))) {
    for (const stranger of ['', `vaultterm=${cookie.split('=')[1]}`, 'vaultterm-admin=none']) {
      const headers = { host, cookie: stranger }
      const answer = await admin.inject({ method: method as 'GET', url, headers })
      expect([answer.statusCode, answer.json().error.code]).toEqual([401, 'ERR_SIGN_IN_REQUIRED'])
    }
  }
})

test('lists the tenants', async () => {
  await tenants.create({ slug: 'acme' }, actor)
  await tenants.create({ slug: 'globex', name: 'Globex' }, actor)
  await tenants.suspend('globex', actor)
  expect(await ask('/api/v1/admin/tenants')).toEqual({
    statusCode: 200,
    body: [
      { id: expect.any(String), slug: 'acme', name: 'acme', createdAt: expect.any(String) },
      expect.objectContaining({ slug: 'globex', suspendedAt: expect.any(String) }),
    ],
  })
})

test('the health of the vault is a failure while it is sealed', async () => {
  const open = await ask('/api/v1/admin/vault/health')
  expect(open).toMatchObject({ statusCode: 200, body: { status: 'ok', sealed: false } })
  await vault.seal()
  const sealed = await ask('/api/v1/admin/vault/health')
  expect(sealed).toMatchObject({ statusCode: 503, body: { status: 'sealed', sealed: true } })
})
