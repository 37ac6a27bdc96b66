import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { expect, inject, test } from 'vitest'
import { encodeEvent } from '../../src/audit/event.ts'
import type { AuditEvent } from '../../src/audit/index.ts'
import { appendValues } from '../../src/audit/queries.ts'
import type { Role } from '../../src/auth/index.ts'
import { actor, makeKey, openAuthFixture, type Place, signed } from './auth-fixture.ts'

const fixture = await openAuthFixture()
const { auth, database } = fixture

test('adds a user, lists them, and says on the log who did it', async () => {
  const place = await fixture.place()
  const email = 'demo@example.com'
  const added = await auth.addUser(place.tenant, { name: 'demo', role: 'auditor', email }, actor)
  expect(added).toMatchObject({ name: 'demo', role: 'auditor', email })
  await place.user('anna')
  expect((await auth.listUsers(place.tenant)).map(({ name }) => name)).toEqual(['anna', 'demo'])
  const [event] = await place.events('user.add')
  expect(event?.public).toEqual({
    user: added.id,
    role: 'auditor',
    actor: 'cli',
    actorKind: 'operator',
  })
  expect(event?.private).toEqual({ name: 'demo', email, actorName: 'ops' })
})

test.each([
  '',
  '-demo',
  'Demo',
  'de mo',
  'démo',
  'demo\n',
  '../demo',
  "demo'--",
  'demo+web1',
  'a'.repeat(33),
])('refuses %j as a name, and writes nothing', async (name) => {
  const place = await fixture.place()
  await expect(auth.addUser(place.tenant, { name }, actor)).rejects.toMatchObject({
    code: 'ERR_USER_NAME',
  })
  expect(await place.events()).toEqual([])
  // The control: the longest there can be.
  await place.user('a'.repeat(32))
})

test.each(['demo', '@example.com', 'a b@example.com', 'a@b@c', `a@${'b'.repeat(300)}`])(
  'refuses %j as an e-mail address',
  async (email) => {
    const place = await fixture.place()
    const adding = auth.addUser(place.tenant, { name: 'demo', email }, actor)
    await expect(adding).rejects.toMatchObject({ code: 'ERR_USER_EMAIL' })
  },
)

test('the database knows four roles, whatever the compiler was told', async () => {
  const place = await fixture.place()
  const role = 'root' as Role
  await expect(auth.addUser(place.tenant, { name: 'demo', role }, actor)).rejects.toThrow(/check/)
  for (const known of ['owner', 'admin', 'member', 'auditor'] as const) {
    await place.user(known, known)
  }
})

test('a name is taken once in a tenant, also by two at once', async () => {
  const place = await fixture.place()
  const adding = await Promise.allSettled(
    Array.from({ length: 5 }, () => auth.addUser(place.tenant, { name: 'demo' }, actor)),
  )
  expect(adding.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const one of adding) {
    if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'ERR_USER_EXISTS' })
  }
  expect(await place.events('user.add')).toHaveLength(1)
})

test('removes a user with their keys and their web sessions, and nobody else', async () => {
  const place = await fixture.place()
  const demo = await place.holder('demo')
  const anna = await place.holder('anna')
  const cookies = [await place.signIn('demo'), await place.signIn('demo')]
  const annas = await place.signIn('anna')
  const { token } = await auth.createLoginLink(place.tenant, 'demo', actor)
  expect(await auth.removeUser(place.tenant, 'demo', actor)).toEqual(demo.user)

  expect(await place.login(signed(demo.key))).toBeUndefined()
  expect(await auth.web.redeem(token)).toBeUndefined()
  for (const cookie of cookies) expect(await auth.web.session(cookie)).toBeUndefined()
  expect(await place.login(signed(anna.key))).toBeDefined()
  expect(await auth.web.session(annas)).toBeDefined()
  expect((await auth.listKeys(place.tenant)).map(({ user }) => user)).toEqual(['anna'])
  const [event] = await place.events('user.remove')
  expect(event).toMatchObject({ public: { user: demo.user.id }, private: { name: 'demo' } })
})

test('who gets the name of a removed user is somebody else', async () => {
  const place = await fixture.place()
  const before = await place.holder('demo')
  const cookie = await place.signIn('demo')
  await auth.removeUser(place.tenant, 'demo', actor)
  const after = await place.holder('demo', makeKey())
  expect(after.user.id).not.toBe(before.user.id)
  expect(await place.login(signed(before.key))).toBeUndefined()
  expect(await auth.web.session(cookie)).toBeUndefined()
})

test('a user is removed once, also by two at once', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const removing = await Promise.allSettled(
    Array.from({ length: 4 }, () => auth.removeUser(place.tenant, 'demo', actor)),
  )
  expect(removing.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const one of removing) {
    if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'ERR_USER_MISSING' })
  }
  expect(await place.events('user.remove')).toHaveLength(1)
})

/** What is done for a user whose removal has begun and is not yet committed. */
const overtaken: { what: string; act(place: Place): Promise<unknown> }[] = [
  {
    what: 'a key',
    act: (place) => auth.addKey(place.tenant, 'demo', makeKey().line, {}, actor),
  },
  { what: 'a link', act: (place) => auth.createLoginLink(place.tenant, 'demo', actor) },
]

test.each(overtaken)('$what for a user who is being removed is for nobody', async ({ act }) => {
  const place = await fixture.place()
  await place.user('demo')
  const url = new URL(inject('postgresUrl'))
  url.pathname = `/${database.name}`
  const remover = new pg.Client({ connectionString: url.href })
  await remover.connect()
  try {
    await remover.query('begin')
    await remover.query('delete from app_user where tenant_id = $1', [place.tenant])
    const refused = expect(act(place)).rejects.toMatchObject({ code: 'ERR_USER_MISSING' })
    // It has found the user, and now waits to see what becomes of them.
    const waiting = () =>
      database.superuser(
        `select from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'`,
        [database.name],
      )
    await expect.poll(waiting).toHaveLength(1)
    await remover.query('commit')
    await refused
  } finally {
    await remover.end()
  }
  expect(await place.events('key.add')).toEqual([])
  expect(await place.events('web.link')).toEqual([])
})

test('attack: the application gives nobody a role without the event that tells of it', async () => {
  const place = await fixture.place()
  const { tenant } = place
  const user = await place.user('demo', 'member')
  const other = await place.user('anna', 'member')
  const asApp = (text: string, values: readonly unknown[]) =>
    database.app.write(tenant, (tx) => tx.many(text, values))
  await expect(
    asApp("update app_user set role = 'owner' where id = $1", [user.id]),
  ).rejects.toThrow('permission denied')
  const change = (event: AuditEvent, subject = user.id) => {
    const encoded = encodeEvent(event, { now: new Date(), random: randomBytes })
    const values = [subject, ...appendValues(encoded)]
    return asApp('select user_role_change($1, $2, $3, $4, $5, $6)', values)
  }
  const facts = { user: user.id, role: 'owner', roleBefore: 'member' }
  const honest = { type: 'user.role', public: facts } as const
  const before = await place.events()
  for (const [event, subject] of [
    [honest, other.id],
    [{ type: 'user.add', public: { user: user.id, role: 'owner' } }],
    [{ ...honest, public: { ...facts, user: other.id } }],
    [{ ...honest, public: { ...facts, roleBefore: 'admin' } }],
    [{ ...honest, public: { ...facts, role: 'member' } }],
    [{ ...honest, public: { user: user.id, roleBefore: 'member' } }],
  ] as const) {
    await expect(change(event, subject)).rejects.toMatchObject({
      code: expect.stringMatching(/^(VT014|23502)$/),
    })
  }
  await expect(change({ ...honest, public: { ...facts, role: 'root' } })).rejects.toThrow('check')
  expect(await place.events()).toEqual(before)
  // The control.
  await change(honest)
  expect(await place.events('user.role')).toMatchObject([{ public: facts }])
  expect((await auth.listUsers(tenant)).find(({ name }) => name === 'demo')?.role).toBe('owner')
})
