import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { actor, makeKey, openAuthFixture, signed } from './auth-fixture.ts'

const fixture = await openAuthFixture()
const { auth, database } = fixture

interface Vectors {
  readonly keys: readonly { name: string; line: string; fingerprint: string; certificate: string }[]
  readonly refused: readonly { name: string; line: string }[]
}
const vectors: Vectors = JSON.parse(readFileSync('test/vectors/ssh-keys.json', 'utf8'))

test.each(vectors.keys)('takes a key of OpenSSH: $name', async ({ line, fingerprint }) => {
  const place = await fixture.place()
  await place.user('demo')
  const added = await auth.addKey(place.tenant, 'demo', line, {}, actor)
  expect(added).toMatchObject({ fingerprint, user: 'demo', expiresAt: undefined })
  expect(await auth.listKeys(place.tenant, 'demo')).toEqual([added])
  const [event] = await place.events('key.add')
  expect(event?.public).toMatchObject({ fingerprint, type: added.type, actor: 'cli' })
  expect(event?.private).toMatchObject({ name: 'demo', comment: added.comment })
})

const refused = (name: string) => vectors.refused.find((one) => one.name === name)?.line ?? ''
const good = makeKey().line

test.each([
  ['an RSA key of 1024 bits', refused('rsa-1024'), /needs at least 2048 bits; this one has 1024/],
  ['a DSA key', refused('dsa'), /DSA keys are refused/],
  ['a certificate', vectors.keys[0]?.certificate ?? '', /certificate/],
  ['a private key', '-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl', /this is a PRIVATE key/],
  ['options before a key', `command="id" ${good}`, /options before a key are refused/],
  ['two keys', `${good}\n${makeKey().line}`, /more than one line/],
  ['half a key', good.slice(0, 40), /damaged/],
  ['nothing', ' ', /there is no key in this text/],
  ['a line without an end', `${good} ${'x'.repeat(10_000)}`, /too long/],
])('refuses %s, and says why', async (_what, line, reason) => {
  const place = await fixture.place()
  await place.user('demo')
  const adding = auth.addKey(place.tenant, 'demo', line, {}, actor)
  await expect(adding).rejects.toMatchObject({
    code: 'ERR_KEY_REFUSED',
    message: expect.stringMatching(reason),
  })
  expect(await auth.listKeys(place.tenant)).toEqual([])
  expect(await place.events('key.add')).toEqual([])
})

test('a comment with escapes is kept as text only, and not without end', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const line = `${good.split(' ').slice(0, 2).join(' ')} me\u001b[31m\u202e${'x'.repeat(400)}`
  const { comment } = await auth.addKey(place.tenant, 'demo', line, {}, actor)
  expect(comment).toMatch(/^me\[31mx+$/)
  expect(comment.length).toBeLessThanOrEqual(200)
})

test('a key is one user’s of a tenant, also when two add it at once', async () => {
  const place = await fixture.place()
  await place.user('demo')
  await place.user('anna')
  const { line, blob } = makeKey()
  const adding = await Promise.allSettled(
    ['demo', 'anna', 'demo', 'anna'].map((name) =>
      auth.addKey(place.tenant, name, line, {}, actor),
    ),
  )
  expect(adding.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const one of adding) {
    if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'ERR_KEY_EXISTS' })
  }
  expect(await place.events('key.add')).toHaveLength(1)
  const [kept] = await database.superuser<{ blob: Buffer }>(
    'select blob from user_key where tenant_id = $1',
    [place.tenant],
  )
  expect(kept?.blob).toEqual(blob)
})

test('says of whom there is no key, and which key there is not', async () => {
  const place = await fixture.place()
  const missing = { code: 'ERR_USER_MISSING' }
  await expect(auth.addKey(place.tenant, 'demo', good, {}, actor)).rejects.toMatchObject(missing)
  await expect(auth.listKeys(place.tenant, 'demo')).rejects.toMatchObject(missing)
  await expect(auth.removeKey(place.tenant, 'SHA256:none', actor)).rejects.toMatchObject({
    code: 'ERR_KEY_MISSING',
  })
})

test.each([
  ['yesterday', new Date(Date.now() - 86_400_000).toISOString(), /expired already/],
  ['no time', 'tomorrow-ish', /must be a time/],
  ['in a year of five digits', '+010000-01-01', /must be a time/],
])('refuses a key that expires at %s', async (_what, expiresAt, reason) => {
  const place = await fixture.place()
  await place.user('demo')
  const adding = auth.addKey(place.tenant, 'demo', good, { expiresAt }, actor)
  await expect(adding).rejects.toThrow(reason)
})

test('a key opens until it expires', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const key = makeKey()
  const expiresAt = new Date(Date.now() + 3_600_000).toISOString()
  expect(await auth.addKey(place.tenant, 'demo', key.line, { expiresAt }, actor)).toMatchObject({
    expiresAt,
  })
  expect(await place.login(signed(key))).toBeDefined()
  await database.superuser(
    "update user_key set expires_at = expires_at - interval '61 minutes' where tenant_id = $1",
    [place.tenant],
  )
  expect(await place.login(signed(key))).toBeUndefined()
})

test('a key is removed once, also by two at once, and its user’s others stay', async () => {
  const place = await fixture.place()
  const { key, fingerprint } = await place.holder('demo')
  const second = makeKey()
  await auth.addKey(place.tenant, 'demo', second.line, {}, actor)
  const removing = await Promise.allSettled(
    Array.from({ length: 4 }, () => auth.removeKey(place.tenant, fingerprint, actor)),
  )
  expect(removing.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  expect(await place.events('key.remove')).toHaveLength(1)
  expect(await place.login(signed(key))).toBeUndefined()
  expect(await place.login(signed(second))).toBeDefined()
  // What was removed can be registered again.
  await auth.addKey(place.tenant, 'demo', key.line, {}, actor)
  expect(await place.login(signed(key))).toBeDefined()
})
