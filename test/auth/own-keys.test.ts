import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import type { WebIdentity } from '../../src/auth/index.ts'
import { actor, makeKey, openAuthFixture, type Place, signed, some } from './auth-fixture.ts'

const fixture = await openAuthFixture()
const { auth, ca, database } = fixture
const { ownKeys } = auth

const person = async (place: Place, name = 'demo'): Promise<WebIdentity> => {
  await place.user(name)
  const identity = some(await auth.web.session(await place.signIn(name)))
  await prove(identity)
  return identity
}

/** With a passkey of nobody's device, and a fresh proof by it. */
async function prove({ tenant, user, session }: WebIdentity): Promise<void> {
  await database.superuser(
    `insert into passkey (tenant_id, user_id, credential_id, public_key, counter, synced, name, tag)
       values ($1, $2, $3, '', 0, false, 'x', $4)`,
    [tenant, user.id, randomBytes(16), randomBytes(40)],
  )
  await database.superuser(
    `insert into step_up_proof (tenant_id, web_session_id, purpose, method, factor_id, expires_at)
       values ($1, $2, 'key.change', 'passkey', gen_random_uuid(), now() + interval '5 minutes')`,
    [tenant, session],
  )
}
const self = {
  kind: 'user',
  id: 'u',
  name: 'demo',
  source: '192.0.2.1',
  stepUp: 'passkey',
} as const
const future = new Date(Date.now() + 3_600_000).toISOString()

test('a key is added, named, ended and removed by its owner, and each is on the log', async () => {
  const place = await fixture.place()
  const me = await person(place)
  const key = makeKey()
  const added = await ownKeys.add(me, { line: key.line, name: 'laptop' }, self)
  expect(added).toMatchObject({ name: 'laptop', expiresAt: undefined, usedAt: undefined })
  expect(await ownKeys.list(me)).toEqual([added])

  expect(await place.login(signed(key))).toMatchObject({ user: { id: me.user.id } })
  const [used] = await ownKeys.list(me)
  expect(Date.now() - Date.parse(used?.usedAt ?? '')).toBeLessThan(60_000)

  const to = { name: 'old laptop', expiresAt: future }
  expect(await ownKeys.change(me, added.id, to, self)).toMatchObject({ ...to, intact: true })
  // Its tag is of the new end.
  expect(await place.login(signed(key))).toBeDefined()
  const open = await ownKeys.change(me, added.id, { expiresAt: null }, self)
  expect(open).toMatchObject({ name: 'old laptop', expiresAt: undefined })

  await ownKeys.remove(me, added.id, self)
  expect(await ownKeys.list(me)).toEqual([])
  expect(await place.login(signed(key))).toBeUndefined()
  const log = (await place.events()).filter(({ type }) => type.startsWith('key.'))
  expect(log.map(({ type }) => type)).toEqual(['key.add', 'key.update', 'key.update', 'key.remove'])
  expect(log[1]).toMatchObject({
    public: { fingerprint: added.fingerprint, expiresAt: future, stepUp: 'passkey' },
    private: { comment: 'old laptop', source: '192.0.2.1' },
  })
})

test('a key ends when its owner says so, and not in the past', async () => {
  const place = await fixture.place()
  const me = await person(place)
  const key = makeKey()
  const { id } = await ownKeys.add(me, { line: key.line }, self)
  await expect(
    ownKeys.change(me, id, { expiresAt: '2020-01-01T00:00:00Z' }, self),
  ).rejects.toMatchObject({ code: 'ERR_KEY_REFUSED' })
  const expiresAt = new Date(Date.now() + 1500).toISOString()
  await ownKeys.change(me, id, { expiresAt }, self)
  await expect.poll(() => place.login(signed(key)), { timeout: 20_000 }).toBeUndefined()
})

test('attack: nobody changes or removes a key of a colleague or of another tenant', async () => {
  const [place, other] = [await fixture.place(), await fixture.place()]
  const me = await person(place)
  const key = makeKey()
  const { id } = await ownKeys.add(me, { line: key.line }, self)
  const missing = { code: 'ERR_KEY_MISSING' }
  const colleague = await person(place, 'colleague')
  for (const stranger of [colleague, await person(other)]) {
    await expect(ownKeys.change(stranger, id, { name: 'mine' }, self)).rejects.toMatchObject(
      missing,
    )
    await expect(ownKeys.remove(stranger, id, self)).rejects.toMatchObject(missing)
  }
  await expect(ownKeys.add(colleague, { line: key.line }, self)).rejects.toMatchObject({
    code: 'ERR_KEY_EXISTS',
  })
  expect(await place.login(signed(key))).toBeDefined()
})

test('attack: a key that was put into the database gets no tag by a new name', async () => {
  const place = await fixture.place()
  const me = await person(place)
  const planted = makeKey()
  const { id } = await ownKeys.add(me, { line: makeKey().line }, self)
  await database.superuser('update user_key set blob = $2 where id = $1', [id, planted.blob])
  expect(await ownKeys.list(me)).toMatchObject([{ intact: false }])
  await expect(ownKeys.change(me, id, { name: 'fine' }, self)).rejects.toMatchObject({
    code: 'ERR_KEY_MISSING',
  })
  expect(await place.login(signed(planted))).toBeUndefined()
  // Its owner can still remove it.
  await ownKeys.remove(me, id, self)
  expect(await ownKeys.list(me)).toEqual([])
})

test('attack: a request that was let in before its session ended, or its proof went, changes nothing', async () => {
  const place = await fixture.place()
  const who = await person(place)
  const line = makeKey().line
  const { id } = await ownKeys.add(who, { line }, self)
  const acts = [
    () => ownKeys.add(who, { line: makeKey().line }, self),
    () => ownKeys.change(who, id, { name: 'mine' }, self),
    () => ownKeys.remove(who, id, self),
    () => auth.web.passkeys.remove(who, id, { lastWayIn: true }, self),
  ]
  const before = await place.events()
  await database.superuser('delete from step_up_proof where web_session_id = $1', [who.session])
  for (const act of acts) {
    await expect(act()).rejects.toMatchObject({ code: 'ERR_STEP_UP_REQUIRED' })
  }
  const gone = { code: 'ERR_WEB_SESSION_MISSING' }
  await database.superuser('delete from web_session where id = $1', [who.session])
  for (const act of [...acts, () => auth.web.sessions.endOthers(who, self)]) {
    await expect(act()).rejects.toMatchObject(gone)
  }
  expect(await place.events()).toEqual(before)
})

test('attack: two browsers of a person that end each other at once do not hang', async () => {
  for (let round = 0; round < 5; round++) {
    const place = await fixture.place()
    const ours = await person(place)
    const theirs = some(await auth.web.session(await place.signIn('demo')))
    const ends = await Promise.allSettled([
      auth.web.sessions.endOne(ours, theirs.session, self),
      auth.web.sessions.endOne(theirs, ours.session, self),
    ])
    expect(ends.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const one of ends) {
      if (one.status === 'rejected')
        expect(one.reason).toMatchObject({ code: 'ERR_WEB_SESSION_MISSING' })
    }
  }
})

test('attack: a colleague who registers the public key of another takes no certificate from them', async () => {
  const place = await fixture.place()
  const me = await person(place)
  await place.user('mallory')
  const key = makeKey()
  await auth.addKey(place.tenant, 'mallory', key.line, { expiresAt: future }, actor)
  const order = { user: me.user, publicKey: key.blob, ttlSeconds: 24 * 3600 }
  const issued = await ca.issueUser(place.tenant, order, { public: {}, private: {} })
  const certificates = await ca.certificatesOf(place.tenant, me.user.id)
  expect(certificates).toMatchObject([{ serial: `${issued.serial}` }])
  // Nor do they go with the colleague's key.
  await auth.removeKey(place.tenant, issued.fingerprint, actor)
  expect(await ca.certificatesOf(place.tenant, me.user.id)).toEqual(certificates)
})

test('attack: a key that was certified before ends with the end that it is registered with', async () => {
  const place = await fixture.place()
  const me = await person(place)
  const key = makeKey()
  const order = { user: me.user, publicKey: key.blob, ttlSeconds: 24 * 3600 }
  await ca.issueUser(place.tenant, order, { public: {}, private: {} })
  await ca.issueUser(place.tenant, { ...order, ttlSeconds: 60 }, { public: {}, private: {} })
  await auth.addKey(place.tenant, 'demo', key.line, { expiresAt: future }, actor)
  const left = await ca.certificatesOf(place.tenant, me.user.id)
  expect(left.map(({ expiresAt }) => expiresAt < future)).toEqual([true])
})

test('attack: a key with many certificates among many revocations is removed at once', async () => {
  const place = await fixture.place()
  const me = await person(place)
  const key = makeKey()
  const { fingerprint } = await auth.addKey(place.tenant, 'demo', key.line, {}, actor)
  await database.superuser(
    `insert into user_certificate (tenant_id, user_id, generation, serial, fingerprint, expires_at)
       select $1, $2, 1, n, $3, now() + interval '1 hour' from generate_series(1000001, 1001000) n`,
    [place.tenant, me.user.id, fingerprint],
  )
  await ca.authorities(place.tenant, 'user')
  await database.superuser(
    `insert into certificate_revocation (tenant_id, kind, generation, serial)
       select $1, 'user', 1, n from generate_series(2000001, 2020000) n`,
    [place.tenant],
  )
  await database.superuser('analyze certificate_revocation')
  expect(await ca.certificatesOf(place.tenant, me.user.id)).toHaveLength(1000)
  await auth.removeKey(place.tenant, fingerprint, actor)
  expect(await ca.certificatesOf(place.tenant, me.user.id)).toEqual([])
  const order = { user: me.user, publicKey: key.blob, ttlSeconds: 60 }
  await expect(
    ca.issueUser(place.tenant, order, { public: {}, private: {} }),
  ).rejects.toMatchObject({ message: expect.stringContaining('1000 certificates') })
})
