import { randomBytes, randomUUID } from 'node:crypto'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createAudit } from '../../src/audit/index.ts'
import type { Actor } from '../../src/auth/index.ts'
import { parseTenantId, systemTenant, type TenantId } from '../../src/postgres/index.ts'
import { createTenants } from '../../src/tenant/index.ts'
import { silent } from '../support/postgres.ts'
import { openVaultFixture } from '../vault/vault-fixture.ts'

const { database, vault } = await openVaultFixture()
const actor: Actor = { kind: 'operator', id: 'cli', name: 'ops' }
const audit = createAudit({ database: database.app, log: silent, metrics: new Registry() })
const events = async (tenant: TenantId) => audit.tail(tenant, { limit: 100 })

/** RSA takes seconds: where a test is not about the keys, it is only seen that they are asked for. */
const asked: TenantId[] = []
const keyless = { createSshKeys: async (tenant: TenantId) => void asked.push(tenant) }
const tenants = createTenants({ database: database.app, vault: keyless, log: silent })
/** As the bastion's process sees them. */
const directory = createTenants({ database: database.bastion, vault: keyless, log: silent })

const newSlug = () => `t${randomBytes(6).toString('hex')}`

test('makes a tenant with its log and both its keys', { timeout: 120_000 }, async () => {
  const whole = createTenants({ database: database.app, vault, log: silent })
  const slug = newSlug()
  const tenant = await whole.create({ slug, name: 'Acme, Inc.' }, actor)
  expect(tenant).toMatchObject({ slug, name: 'Acme, Inc.', suspendedAt: undefined })
  const [first] = await events(tenant.id)
  expect(first).toMatchObject({
    index: 0,
    type: 'tenant.create',
    public: { tenant: tenant.id, actor: 'cli', actorKind: 'operator' },
    private: { slug, name: 'Acme, Inc.', actorName: 'ops' },
  })
  for (const name of ['admin_ssh', 'tenant_ssh'] as const) {
    expect((await vault.describe(tenant.id, name)).publicKey).toMatch(/^ssh-rsa /)
  }
})

test('finishes what a create that died began', { timeout: 120_000 }, async () => {
  const slug = newSlug()
  const dying = { createSshKeys: () => Promise.reject(new Error('killed here')) }
  const first = createTenants({ database: database.app, vault: dying, log: silent })
  await expect(first.create({ slug }, actor)).rejects.toThrow('killed here')
  const { id } = await first.find(slug)
  await expect(vault.describe(id, 'admin_ssh')).rejects.toMatchObject({
    code: 'ERR_VAULT_KEY_MISSING',
  })
  const again = createTenants({ database: database.app, vault, log: silent })
  await expect(again.create({ slug }, actor)).rejects.toMatchObject({ code: 'ERR_TENANT_EXISTS' })
  const made = await vault.describe(id, 'admin_ssh')
  // Once more, it changes nothing.
  await expect(again.create({ slug }, actor)).rejects.toMatchObject({ code: 'ERR_TENANT_EXISTS' })
  expect(await vault.describe(id, 'admin_ssh')).toEqual(made)
  expect((await events(id)).map(({ type }) => type)).toEqual([
    'tenant.create',
    'key.create',
    'key.create',
  ])
})

test('of many who make a tenant of one name at once, exactly one does', async () => {
  const slug = newSlug()
  const making = await Promise.allSettled(
    Array.from({ length: 5 }, () => tenants.create({ slug }, actor)),
  )
  expect(making.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const one of making) {
    if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'ERR_TENANT_EXISTS' })
  }
  expect((await tenants.list()).filter((tenant) => tenant.slug === slug)).toHaveLength(1)
})

test.each([
  '',
  '-',
  '-acme',
  'Acme',
  'ac me',
  'acmé',
  'acme\n',
  'acme+web1',
  '../acme',
  "acme'--",
  'a'.repeat(33),
  'tenant-0123abcd',
])('refuses %j as a name, and makes nothing', async (slug) => {
  const before = (await tenants.list()).length
  await expect(tenants.create({ slug }, actor)).rejects.toMatchObject({ code: 'ERR_TENANT_NAME' })
  expect(await tenants.list()).toHaveLength(before)
})

test('is found by its slug and by the start of its id, in both processes', async () => {
  const { id, slug } = await tenants.create({ slug: newSlug() }, actor)
  const found = { id, slug, suspended: false }
  for (const one of [tenants, directory]) {
    expect(await one.resolve(slug)).toEqual(found)
    expect(await one.resolve(`tenant-${id.slice(0, 8)}`)).toEqual(found)
    await tenants.suspend(slug, actor)
    expect(await one.resolve(slug)).toEqual({ ...found, suspended: true })
    await tenants.resume(slug, actor)
  }
})

test('finds nobody by what is no name of theirs', async () => {
  const { id, slug } = await tenants.create({ slug: newSlug() }, actor)
  for (const one of [tenants, directory]) {
    for (const name of [
      '',
      slug.toUpperCase(),
      `${slug} `,
      slug.slice(0, -1),
      id,
      id.slice(0, 8),
      `tenant-${id.slice(0, 7)}`,
      `tenant-${id}`,
      `TENANT-${id.slice(0, 8)}`,
      `' or slug like '%`,
      '%',
      // The platform's own is nobody's to log in to.
      '-',
      'tenant-00000000',
      systemTenant,
      'x'.repeat(100_000),
    ]) {
      expect(await one.resolve(name), name.slice(0, 60)).toBeUndefined()
    }
  }
})

test('the start of an id that two tenants share is nobody’s', async () => {
  const start = randomUUID().slice(0, 8)
  const place = async (tail: string) => {
    const id = parseTenantId(`${start}${tail}`)
    if (id === undefined) throw new Error('this is an id')
    const slug = newSlug()
    await database.app.write(id, (tx) =>
      tx.run('insert into tenant (tenant_id, slug, name) values ($1, $2, $2)', [id, slug]),
    )
    return { id, slug }
  }
  const first = await place('-0000-4000-8000-000000000001')
  expect((await directory.resolve(`tenant-${start}`))?.id).toBe(first.id)
  const second = await place('-0000-4000-8000-000000000002')
  expect(await directory.resolve(`tenant-${start}`)).toBeUndefined()
  expect((await directory.resolve(second.slug))?.id).toBe(second.id)
})

test('suspends and resumes, each on the log once', async () => {
  const { id, slug } = await tenants.create({ slug: newSlug() }, actor)
  const suspended = await tenants.suspend(slug, actor)
  expect(suspended.suspendedAt).toMatch(/^\d{4}-/)
  expect(await tenants.suspend(slug, actor)).toEqual(suspended)
  expect((await tenants.resume(slug, actor)).suspendedAt).toBeUndefined()
  await tenants.resume(slug, actor)
  const log = await events(id)
  expect(log.map(({ type }) => type)).toEqual(['tenant.create', 'tenant.suspend', 'tenant.resume'])
  expect(log[1]).toMatchObject({ public: { actor: 'cli' }, private: { slug, actorName: 'ops' } })
})

test('suspends nobody else', async () => {
  const { slug } = await tenants.create({ slug: newSlug() }, actor)
  const other = await tenants.create({ slug: newSlug() }, actor)
  await tenants.suspend(slug, actor)
  expect(await tenants.find(other.slug)).toEqual(other)
})

test.each(['nobody', '-', "' or true --"])('says that there is no tenant %j', async (slug) => {
  const missing = { code: 'ERR_TENANT_MISSING' }
  await expect(tenants.find(slug)).rejects.toMatchObject(missing)
  await expect(tenants.suspend(slug, actor)).rejects.toMatchObject(missing)
  await expect(tenants.resume(slug, actor)).rejects.toMatchObject(missing)
})

test('lists tenants by name, and not the platform’s own', async () => {
  await tenants.create({ slug: newSlug() }, actor)
  const slugs = (await tenants.list()).map(({ slug }) => slug)
  expect(slugs.length).toBeGreaterThan(0)
  expect(slugs).not.toContain('-')
  expect(slugs).toEqual([...slugs].sort())
})

test('the bastion’s process makes, lists and suspends none', async () => {
  const { slug } = await tenants.create({ slug: newSlug() }, actor)
  const denied = /permission denied/
  await expect(directory.create({ slug: newSlug() }, actor)).rejects.toThrow(denied)
  await expect(directory.list()).rejects.toThrow(denied)
  await expect(directory.suspend(slug, actor)).rejects.toThrow(denied)
  expect(await tenants.find(slug)).toMatchObject({ suspendedAt: undefined })
})

test('attack: a strange time in one tenant’s row keeps nobody from listing the others', async () => {
  const tenant = await tenants.create({ slug: newSlug(), name: 'Strange' }, actor)
  const suspend = (at: string) =>
    database.app.write(tenant.id, (tx) => tx.run('update tenant set suspended_at = $1', [at]))
  for (const at of ['infinity', '-infinity', '200000-01-01', '0044-03-15 BC']) {
    await expect(suspend(at), at).rejects.toMatchObject({ code: '23514' })
  }
  // A row from before.
  await database.superuser('alter table tenant drop constraint tenant_times_bound')
  for (const [at, read] of [
    ['infinity', '+275760-09-13T00:00:00.000Z'],
    ['290000-01-01', '+275760-09-13T00:00:00.000Z'],
    ['-infinity', '-271821-04-20T00:00:00.000Z'],
  ] as const) {
    await suspend(at)
    const found = (await tenants.list()).find(({ id }) => id === tenant.id)
    expect(found?.suspendedAt).toBe(read)
  }
})
