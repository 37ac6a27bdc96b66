import { expect, test } from 'vitest'
import { openTestDatabase } from '../support/postgres.ts'

const database = await openTestDatabase()
const slugs = 'select slug from tenant order by slug'

test('shows a tenant its own rows and nothing of another', async () => {
  const [acme, globex] = [
    await database.createTenant('acme'),
    await database.createTenant('globex'),
  ]
  for (const role of [database.app, database.bastion]) {
    expect(await role.read(acme, (tx) => tx.many(slugs))).toEqual([{ slug: 'acme' }])
    expect(await role.read(globex, (tx) => tx.many(slugs))).toEqual([{ slug: 'globex' }])
  }
})

test('finds tenants across all of them, and not the system’s own, in the role for it', async () => {
  expect(await database.app.system((tx) => tx.many(slugs))).toEqual([
    { slug: 'acme' },
    { slug: 'globex' },
  ])
  expect(await database.bastion.system((tx) => tx.many(slugs))).toEqual([
    { slug: 'acme' },
    { slug: 'globex' },
  ])
})
