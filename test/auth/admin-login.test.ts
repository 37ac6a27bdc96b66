import { expect, test } from 'vitest'
import { systemTenant } from '../../src/postgres/index.ts'
import { actor, openAuthFixture, signed, some, source } from './auth-fixture.ts'

const fixture = await openAuthFixture()
const { auth, adminAuth } = fixture

const events = (type: string) => fixture.events(systemTenant, type)

test('an administrator is made by their first link, on the log, and is the same afterwards', async () => {
  const first = await adminAuth.createLoginLink('anna', actor)
  const second = await adminAuth.createLoginLink('anna', actor)
  const [one, other] = [await adminAuth.redeem(first.token), await adminAuth.redeem(second.token)]
  const identity = some(await adminAuth.session(some(one)))
  expect(identity.user.name).toBe('anna')
  expect((await adminAuth.session(some(other)))?.user).toEqual(identity.user)
  const added = (await events('user.add')).filter((event) => event.private.name === 'anna')
  expect(added).toHaveLength(1)
  expect(added[0]?.public).toMatchObject({ user: identity.user.id, actor: 'cli' })
  expect(await events('web.login')).toHaveLength(2)
})

test('two who make the same administrator at once make one', async () => {
  const links = await Promise.all(
    Array.from({ length: 5 }, () => adminAuth.createLoginLink('bert', actor)),
  )
  const cookies = await Promise.all(links.map(({ token }) => adminAuth.redeem(token)))
  const people = await Promise.all(cookies.map((cookie) => adminAuth.session(some(cookie))))
  expect(new Set(people.map((person) => person?.user.id)).size).toBe(1)
})

test.each(['', 'Anna', '-', '../x', 'a'.repeat(33)])('makes no administrator %j', async (name) => {
  await expect(adminAuth.createLoginLink(name, actor)).rejects.toMatchObject({
    code: 'ERR_USER_NAME',
  })
})

test('an administrator’s link and cookie are nothing to the portal, nor a user’s here', async () => {
  const place = await fixture.place()
  await place.user('demo', 'owner')
  const admin = await adminAuth.createLoginLink('carl', actor)
  const user = await auth.createLoginLink(place.tenant, 'demo', actor)
  expect(await auth.web.redeem(admin.token)).toBeUndefined()
  expect(await adminAuth.redeem(user.token)).toBeUndefined()
  // Each is still unspent where it belongs.
  const adminCookie = some(await adminAuth.redeem(admin.token))
  const userCookie = some(await auth.web.redeem(user.token))
  expect(await auth.web.session(adminCookie)).toBeUndefined()
  expect(await adminAuth.session(userCookie)).toBeUndefined()
  await auth.web.end(adminCookie)
  await adminAuth.end(userCookie)
  expect(await adminAuth.session(adminCookie)).toBeDefined()
  expect(await auth.web.session(userCookie)).toBeDefined()
})

test('makes no link for an administrator by way of a tenant', async () => {
  await adminAuth.createLoginLink('dora', actor)
  await expect(auth.createLoginLink(systemTenant, 'dora', actor)).rejects.toThrow(/not for that/)
})

test('nobody logs in over SSH as of the platform: its tenant can have no keys', async () => {
  await adminAuth.createLoginLink('emil', actor)
  const place = await fixture.place()
  const { key } = await place.holder('demo')
  const adding = auth.addKey(systemTenant, 'emil', key.line, {}, actor)
  await expect(adding).rejects.toThrow(/check/)
  const login = { tenant: systemTenant, attempt: signed(key), source }
  expect(await auth.authenticateSsh(login)).toBeUndefined()
})

test('an administrator who is signed out is signed out', async () => {
  const { token } = await adminAuth.createLoginLink('finn', actor)
  const cookie = some(await adminAuth.redeem(token))
  await adminAuth.end(cookie)
  expect(await adminAuth.session(cookie)).toBeUndefined()
})

test('lists administrators with the browsers that are signed in', async () => {
  const { token } = await adminAuth.createLoginLink('gina', actor)
  const find = async () =>
    (await adminAuth.listAdministrators()).find(({ name }) => name === 'gina')
  expect(await find()).toMatchObject({ sessions: 0 })
  const cookie = some(await adminAuth.redeem(token))
  expect(await find()).toEqual({
    id: expect.any(String),
    name: 'gina',
    createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
    sessions: 1,
  })
  await adminAuth.end(cookie)
  expect(await find()).toMatchObject({ sessions: 0 })
  const place = await fixture.place()
  await place.user('somebody', 'owner')
  expect((await adminAuth.listAdministrators()).map(({ name }) => name)).not.toContain('somebody')
})

test('a removed administrator is signed out at once, their links sign nobody in, and it is on the log', async () => {
  const links = [1, 2].map(() => adminAuth.createLoginLink('hugo', actor))
  const [used, unused] = [await some(links[0]), await some(links[1])]
  const cookie = some(await adminAuth.redeem(used.token))
  const { id } = some(await adminAuth.session(cookie)).user
  const other = some(await adminAuth.redeem((await adminAuth.createLoginLink('ida', actor)).token))
  expect(await adminAuth.removeAdministrator('hugo', actor)).toMatchObject({ id, sessions: 1 })
  expect(await adminAuth.session(cookie)).toBeUndefined()
  expect(await adminAuth.redeem(unused.token)).toBeUndefined()
  expect((await adminAuth.listAdministrators()).map(({ name }) => name)).not.toContain('hugo')
  expect(await events('user.remove')).toEqual([
    expect.objectContaining({
      public: expect.objectContaining({ user: id, actor: 'cli' }),
      private: expect.objectContaining({ name: 'hugo' }),
    }),
  ])
  // Nobody else is touched, and the name can be used again, by another account.
  expect(await adminAuth.session(other)).toBeDefined()
  await adminAuth.createLoginLink('hugo', actor)
  const again = (await adminAuth.listAdministrators()).find(({ name }) => name === 'hugo')
  expect(again?.id).not.toBe(id)
})

test('removes no user of a tenant, and says which administrator is not there', async () => {
  const place = await fixture.place()
  await place.user('jana', 'owner')
  await expect(adminAuth.removeAdministrator('jana', actor)).rejects.toMatchObject({
    code: 'ERR_ADMIN_MISSING',
    message: expect.stringContaining('jana'),
  })
  expect((await auth.listUsers(place.tenant)).map(({ name }) => name)).toContain('jana')
})
