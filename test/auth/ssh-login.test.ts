import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Database, ReadTx } from '../../src/postgres/index.ts'
import { type AuthAttempt, encodeUserauthRequest, Writer } from '../../src/ssh/index.ts'
import { newTenantId } from '../support/postgres.ts'
import {
  actor,
  makeKey,
  openAuthFixture,
  type Place,
  signed,
  source,
  type TestKey,
} from './auth-fixture.ts'

const fixture = await openAuthFixture()
const { auth, database } = fixture

test.each(['ssh-ed25519', 'rsa-sha2-256', 'rsa-sha2-512'])(
  'a %s signature by a registered key says who it is, and is on the log',
  async (algorithm) => {
    const place = await fixture.place()
    const { user, key, fingerprint } = await place.holder('demo', makeKey(algorithm))
    expect(await place.login(signed(key))).toEqual({
      tenant: place.tenant,
      tenantSlug: place.slug,
      user: { id: user.id, name: 'demo', role: 'member' },
      keyFingerprint: fingerprint,
    })
    const [event] = await place.events('login.success')
    expect(event?.public).toMatchObject({
      user: user.id,
      method: 'publickey',
      fingerprint,
      algorithm,
      actor: user.id,
      actorKind: 'user',
    })
    expect(event?.private).toMatchObject({ name: 'demo', source })
  },
)

/** Each is tried against a registered user, whose own login is the control before it. */
const attacks: { what: string; attempt(key: TestKey, place: Place): Promise<AuthAttempt> }[] = [
  { what: 'a key that nobody registered', attempt: async () => signed(makeKey()) },
  {
    what: 'a registered key in front of the signature of another',
    attempt: async (key) => {
      const { signedData } = signed(key)
      return signed(key, { signedData, signature: makeKey().sign(signedData) })
    },
  },
  {
    what: 'the signature of another registered user',
    attempt: async (key, place) => {
      const { signedData } = signed(key)
      const { key: other } = await place.holder('other')
      return signed(key, { signedData, signature: other.sign(signedData) })
    },
  },
  {
    what: 'a signature that was made over another connection',
    attempt: async (key) => signed(key, { signature: signed(key).signature }),
  },
  {
    what: 'a signature over a login as somebody else',
    attempt: async (key) => ({ ...signed(key, { user: 'acme+root' }), user: 'acme' }),
  },
  {
    what: 'a signature over a login with another key',
    attempt: async (key) => {
      const request = { exchangeHash: randomBytes(32), user: 'acme', algorithm: key.algorithm }
      const signedData = encodeUserauthRequest({ ...request, key: makeKey().blob })
      return signed(key, { signedData })
    },
  },
  {
    what: 'a signature over a file',
    attempt: async (key) => {
      const signedData = new Writer()
        .bytes(Buffer.from('SSHSIG'))
        .text('git')
        .text('')
        .text('sha512')
        .string(randomBytes(64))
        .build()
      return signed(key, { signedData })
    },
  },
  {
    what: 'a signature over a login with something behind it',
    attempt: async (key) => {
      const signedData = Buffer.concat([signed(key).signedData, Buffer.of(0)])
      return signed(key, { signedData })
    },
  },
  {
    what: 'a signature over nothing',
    attempt: async (key) => signed(key, { signedData: Buffer.alloc(0) }),
  },
  {
    what: 'no signature',
    attempt: async (key) => signed(key, { signature: Buffer.alloc(0) }),
  },
  {
    what: 'a signature with a bit turned',
    attempt: async (key) => {
      const { signedData, signature } = signed(key)
      signature[signature.length - 9] = (signature[signature.length - 9] ?? 0) ^ 1
      return signed(key, { signedData, signature })
    },
  },
  {
    what: 'a registered key with a byte more',
    attempt: async (key) => ({ ...signed(key), key: Buffer.concat([key.blob, Buffer.of(0)]) }),
  },
]

test.each(attacks)('lets nobody in with $what', async ({ attempt }) => {
  const place = await fixture.place()
  const { key } = await place.holder('demo')
  expect(await place.login(signed(key))).toBeDefined()
  expect(await place.login(await attempt(key, place))).toBeUndefined()
  await expect.poll(() => place.events('login.failure')).toHaveLength(1)
  expect(await place.events('login.success')).toHaveLength(1)
})

test('lets nobody in with a signature by SHA-1, though the key is registered', async () => {
  const place = await fixture.place()
  const { key } = await place.holder('demo', makeKey('rsa-sha2-256'))
  expect(await place.login(signed(key))).toBeDefined()
  expect(await place.login(signed(key, { algorithm: 'ssh-rsa' }))).toBeUndefined()
  // Nor with one that says to be better than it is.
  const { signedData } = signed(key, { algorithm: 'rsa-sha2-512' })
  const signature = key.sign(signedData, 'ssh-rsa')
  expect(
    await place.login(signed(key, { algorithm: 'rsa-sha2-512', signedData, signature })),
  ).toBeUndefined()
})

const endings: { what: string; end(place: Place, fingerprint: string): Promise<unknown> }[] = [
  {
    what: 'the key has expired',
    end: (place) =>
      database.superuser('update user_key set expires_at = now() where tenant_id = $1', [
        place.tenant,
      ]),
  },
  {
    what: 'the key was removed',
    end: (place, fingerprint) => auth.removeKey(place.tenant, fingerprint, actor),
  },
  { what: 'the user was removed', end: (place) => auth.removeUser(place.tenant, 'demo', actor) },
  { what: 'the tenant was suspended', end: (place) => place.suspend() },
]

test.each(endings)('lets nobody in any more once $what', async ({ end }) => {
  const place = await fixture.place()
  const { key, fingerprint } = await place.holder('demo')
  expect(await place.login(signed(key))).toBeDefined()
  await end(place, fingerprint)
  expect(await place.login(signed(key))).toBeUndefined()
})

test('lets people in again when their tenant is resumed, and until their key expires', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const key = makeKey()
  const expiresAt = new Date(Date.now() + 3_600_000).toISOString()
  await auth.addKey(place.tenant, 'demo', key.line, { expiresAt }, actor)
  await place.suspend()
  expect(await place.login(signed(key))).toBeUndefined()
  await place.resume()
  expect(await place.login(signed(key))).toBeDefined()
})

/** What is asked of the database, with the tenant that it is asked of. */
function watched(statements: { text: string; tenant: string }[], hold?: Promise<void>): Database {
  const { app } = database
  return {
    read: (tenant, work, options) =>
      app.read(
        tenant,
        (tx) => {
          const seen: ReadTx = {
            one: (text, values) => tx.one(text, values),
            many: (text, values) => tx.many(text, values),
            maybe: (text, values) => {
              statements.push({ text, tenant })
              return tx.maybe(text, values)
            },
            last() {
              tx.last()
              return this
            },
          }
          return work(seen)
        },
        options,
      ),
    write: async (tenant, work, options) => {
      await hold
      return app.write(tenant, work, options)
    },
    system: (work) => app.system(work),
    ping: () => app.ping(),
    listen: (channel, onPayload) => app.listen(channel, onPayload),
    observe: (observer) => app.observe(observer),
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  }
}

test('asks the same for an unknown tenant, an unknown key and a wrong signature', async () => {
  const place = await fixture.place()
  const { key } = await place.holder('demo')
  const wrong = signed(key, { signature: signed(makeKey()).signature })
  const asked = []
  for (const login of [
    { tenant: undefined, attempt: signed(key) },
    { tenant: newTenantId(), attempt: signed(key) },
    { tenant: place.tenant, attempt: signed(makeKey()) },
    { tenant: place.tenant, attempt: wrong },
  ]) {
    const statements: { text: string; tenant: string }[] = []
    const one = fixture.over(watched(statements))
    expect(await one.authenticateSsh({ ...login, source })).toBeUndefined()
    asked.push(statements.map(({ text }) => text))
  }
  expect(asked[0]).toHaveLength(1)
  for (const statements of asked) expect(statements).toEqual(asked[0])
  await expect.poll(() => place.events('login.failure')).toHaveLength(2)
})

test('answers a failed login before it is on the log: the wait would tell of the tenant', async () => {
  const place = await fixture.place()
  const { promise, resolve } = Promise.withResolvers<void>()
  const held = fixture.over(watched([], promise))
  const login = { tenant: place.tenant, attempt: signed(makeKey()), source }
  expect(await held.authenticateSsh(login)).toBeUndefined()
  expect(await place.events('login.failure')).toHaveLength(0)
  resolve()
  await expect.poll(() => place.events('login.failure')).toHaveLength(1)
})

test('writes nothing of an unknown tenant anywhere', async () => {
  const place = await fixture.place()
  const leaves = () =>
    database.superuser<{ tenant: string }>(
      'select tenant_id as tenant from audit_leaf order by tenant_id, leaf_index',
    )
  const before = await leaves()
  const attempt = signed(makeKey())
  for (const tenant of [undefined, newTenantId()]) {
    expect(await auth.authenticateSsh({ tenant, attempt, source })).toBeUndefined()
  }
  // The control, and what tells that whatever was to be written has been.
  await place.login(attempt)
  await expect.poll(() => place.events('login.failure')).toHaveLength(1)
  expect((await leaves()).length).toBe(before.length + 1)
})

test('says why a login failed, with the fingerprint and the address, and no name', async () => {
  const place = await fixture.place()
  const { key, fingerprint } = await place.holder('demo')
  await place.login(signed(key, { signature: signed(makeKey()).signature }))
  await expect.poll(() => place.events('login.failure')).toHaveLength(1)
  const [event] = await place.events('login.failure')
  expect(event?.public).toMatchObject({ code: 'bad-signature', fingerprint, method: 'publickey' })
  expect(event?.private).toEqual({ source })
})

test('holds back who would fill the log with failures, and counts what was held back', async () => {
  const place = await fixture.place()
  const { key } = await place.holder('demo')
  for (let i = 0; i < 30; i += 1) await place.login(signed(makeKey()))
  await expect.poll(() => place.events('login.failure')).toHaveLength(10)
  await place.login(signed(makeKey()), '203.0.113.9')
  await expect.poll(() => place.events('login.failure')).toHaveLength(11)
  const counts = (await place.events('login.failure')).map((event) => event.public.count)
  expect(counts.filter((count) => count !== undefined)).toEqual(['21'])
  // Who has a key is not held back by who has none.
  expect(await place.login(signed(key))).toBeDefined()
})

test('attack: a flood against a tenant whose log hangs hides no failure of another', async () => {
  const [hostile, polite] = [await fixture.place(), await fixture.place()]
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const hanging: Database = {
    ...watched([]),
    write: async (tenant, work, options) => {
      if (tenant === hostile.tenant) await released
      return database.app.write(tenant, work, options)
    },
  }
  const auth = fixture.over(hanging)
  for (let i = 0; i < 80; i += 1)
    await auth.authenticateSsh({
      tenant: hostile.tenant,
      attempt: signed(makeKey()),
      source: `192.0.2.${i}`,
    })
  await auth.authenticateSsh({ tenant: polite.tenant, attempt: signed(makeKey()), source })
  await expect.poll(() => polite.events('login.failure')).toHaveLength(1)
  release()
  // The others were counted: the next one that is written tells of them.
  await expect.poll(() => hostile.events('login.failure')).toHaveLength(16)
  await auth.authenticateSsh({ tenant: hostile.tenant, attempt: signed(makeKey()), source })
  await expect.poll(() => hostile.events('login.failure')).toHaveLength(17)
  const counts = (await hostile.events('login.failure')).map((event) => event.public.count)
  expect(counts.filter((count) => count !== undefined)).toEqual(['65'])
})

test('lets nobody in whose login cannot be put on the log', async () => {
  const place = await fixture.place()
  const { key } = await place.holder('demo')
  const broken: Database = { ...watched([]), write: () => Promise.reject(new Error('no log')) }
  const login = { tenant: place.tenant, attempt: signed(key), source }
  await expect(fixture.over(broken).authenticateSsh(login)).rejects.toThrow('no log')
})

test('lets nobody in when the database is gone', async () => {
  const place = await fixture.place()
  const { key } = await place.holder('demo')
  const gone = database.open('vaultterm_app', {}, 'postgres://nobody:x@127.0.0.1:1/none')
  const login = { tenant: place.tenant, attempt: signed(key), source }
  await expect(fixture.over(gone).authenticateSsh(login)).rejects.toMatchObject({
    code: 'ERR_DATABASE_UNAVAILABLE',
  })
})
