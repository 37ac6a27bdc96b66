import { createHash, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { encodeEvent } from '../../src/audit/event.ts'
import type { AuditEvent } from '../../src/audit/index.ts'
import { appendValues } from '../../src/audit/queries.ts'
import { systemTenant } from '../../src/postgres/index.ts'
import { newTenantId } from '../support/postgres.ts'
import { actor, openAuthFixture, some } from './auth-fixture.ts'

const fixture = await openAuthFixture()
const { auth, adminAuth, database } = fixture
const { web } = auth

const minutes = 60_000
const hours = 60 * minutes

/** What the pages accept as a token, and as a cookie. */
const carried = /^[\w.~-]{1,512}$/

const setBack = (table: string, column: string, tenant: string, by: string) =>
  database.superuser(
    `update ${table} set ${column} = ${column} - $2::interval where tenant_id = $1`,
    [tenant, by],
  )

test('a link becomes a session of its user, on the log from the link to the end', async () => {
  const place = await fixture.place()
  const user = await place.user('demo', 'auditor')
  const { token, expiresAt } = await auth.createLoginLink(place.tenant, 'demo', actor)
  expect(token).toMatch(carried)
  const lasts = Date.parse(expiresAt) - Date.now()
  expect(lasts).toBeGreaterThan(9 * minutes)
  expect(lasts).toBeLessThanOrEqual(10 * minutes)

  const cookie = some(await web.redeem(token))
  expect(cookie).toMatch(carried)
  expect(cookie).not.toBe(token)
  const identity = some(await web.session(cookie))
  expect(identity).toMatchObject({
    tenant: place.tenant,
    tenantSlug: place.slug,
    user: { id: user.id, name: 'demo', role: 'auditor' },
  })
  await web.end(cookie)
  expect(await web.session(cookie)).toBeUndefined()

  const [link, login, logout] = (await place.events()).filter(({ type }) => type.startsWith('web.'))
  expect(link).toMatchObject({ type: 'web.link', public: { user: user.id, actor: 'cli' } })
  expect(login).toMatchObject({
    type: 'web.login',
    public: { link: link?.public.link, webSession: identity.session, actor: user.id },
  })
  expect(logout).toMatchObject({
    type: 'web.logout',
    public: { webSession: identity.session, actor: user.id },
  })
})

test('attack: no login that serves makes a web session without the event of just this one', async () => {
  const [place, other] = [await fixture.place(), await fixture.place()]
  const user = await place.user('demo', 'owner')
  const stranger = await other.user('demo', 'owner')
  const { tenant } = place
  const cookie = `${tenant}.${'A'.repeat(43)}`
  const hash = createHash('sha256').update(cookie).digest()
  const asApp = (text: string, values: readonly unknown[]) =>
    database.app.write(tenant, (tx) => tx.many(text, values))
  await expect(
    asApp(
      "insert into web_session (user_id, cookie_hash, expires_at) values ($1, $2, now() + interval '1 hour')",
      [user.id, hash],
    ),
  ).rejects.toThrow('permission denied')
  const enter = (event: AuditEvent) => {
    const encoded = encodeEvent(event, { now: new Date(), random: randomBytes })
    const values = [hash, ...appendValues(encoded)]
    return asApp('select web_session_open($1, $2, $3, $4, $5, $6)', values)
  }
  const login = (id: string, lastsMs: number): AuditEvent => {
    const expiresAt = new Date(Date.now() + lastsMs).toISOString()
    return {
      type: 'web.login',
      public: { user: id, webSession: crypto.randomUUID(), expiresAt },
    }
  }
  const facts = { user: user.id, expiresAt: new Date(Date.now() + hours).toISOString() }
  const refused = { code: 'VT014' }
  await expect(enter({ type: 'web.link', public: facts })).rejects.toMatchObject(refused)
  await expect(enter(login(user.id, 8 * 24 * hours))).rejects.toMatchObject(refused)
  await expect(enter({ type: 'web.login', public: facts })).rejects.toThrow('not-null')
  await expect(enter(login(stranger.id, hours))).rejects.toThrow('foreign key')
  // What the door read named this user and type; what would be logged has the log's name in there.
  const [tree] = await asApp('select origin from audit_tree', [])
  const origin = tree !== undefined && 'origin' in tree ? tree.origin : ''
  for (const value of [`"${user.id}`, '"web.login']) {
    const { id, leaf } = encodeEvent(login(user.id, hours), {
      now: new Date(),
      random: randomBytes,
    })
    const told = `${leaf.before}${origin}${leaf.after}`
    const at = told.indexOf(value) + 1
    await expect(
      asApp('select web_session_open($1, $2, $3, $4, null, null)', [
        hash,
        id,
        told.slice(0, at),
        told.slice(at),
      ]),
    ).rejects.toMatchObject(refused)
  }
  expect(await web.session(cookie)).toBeUndefined()
  expect(await place.events('web.login')).toHaveLength(0)
  // The control leaves its event.
  await enter(login(user.id, hours))
  expect(await web.session(cookie)).toMatchObject({ user: { id: user.id } })
  expect(await place.events('web.login')).toMatchObject([{ public: { user: user.id } }])
})

test('a link is used once', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const { token } = await auth.createLoginLink(place.tenant, 'demo', actor)
  const cookie = some(await web.redeem(token))
  expect(await web.redeem(token)).toBeUndefined()
  // Whoever tries it again does not end the session that it became.
  expect(await web.session(cookie)).toBeDefined()
  expect(await place.events('web.login')).toHaveLength(1)
})

test('of many who redeem a link at once, exactly one gets a session', async () => {
  const place = await fixture.place()
  await place.user('demo')
  for (let round = 0; round < 5; round += 1) {
    const { token } = await auth.createLoginLink(place.tenant, 'demo', actor)
    const cookies = await Promise.all(Array.from({ length: 8 }, () => web.redeem(token)))
    expect(cookies.filter((cookie) => cookie !== undefined)).toHaveLength(1)
  }
  expect(await place.events('web.login')).toHaveLength(5)
})

test('a redeem at the moment its user is removed leaves no session, whichever is first', async () => {
  for (let round = 0; round < 12; round += 1) {
    const place = await fixture.place()
    await place.user('demo')
    const { token } = await auth.createLoginLink(place.tenant, 'demo', actor)
    const [cookie] = await Promise.all([
      web.redeem(token),
      auth.removeUser(place.tenant, 'demo', actor),
    ])
    if (cookie !== undefined) expect(await web.session(cookie)).toBeUndefined()
    expect(await web.redeem(token)).toBeUndefined()
  }
})

test('a link lasts ten minutes', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const first = await auth.createLoginLink(place.tenant, 'demo', actor)
  await setBack('login_link', 'expires_at', place.tenant, '9 minutes')
  expect(await web.redeem(first.token)).toBeDefined()
  const second = await auth.createLoginLink(place.tenant, 'demo', actor)
  await setBack('login_link', 'expires_at', place.tenant, '10 minutes')
  expect(await web.redeem(second.token)).toBeUndefined()
})

test('a session that nobody uses ends after twelve hours, and use puts that off', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const cookie = await place.signIn('demo')
  await setBack('web_session', 'seen_at', place.tenant, '11 hours 59 minutes')
  expect(await web.session(cookie)).toBeDefined()
  // Had that not counted as use, this would be too long.
  await setBack('web_session', 'seen_at', place.tenant, '11 hours 59 minutes')
  expect(await web.session(cookie)).toBeDefined()
  await setBack('web_session', 'seen_at', place.tenant, '12 hours 1 minute')
  expect(await web.session(cookie)).toBeUndefined()
})

test('a session ends after seven days, however much it is used', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const cookie = await place.signIn('demo')
  const [login] = await place.events('web.login')
  const lasts = Date.parse(String(login?.public.expiresAt)) - Date.now()
  expect(lasts).toBeGreaterThan(7 * 24 * hours - minutes)
  expect(lasts).toBeLessThanOrEqual(7 * 24 * hours)
  await setBack('web_session', 'expires_at', place.tenant, '6 days 23 hours 59 minutes')
  expect(await web.session(cookie)).toBeDefined()
  await setBack('web_session', 'expires_at', place.tenant, '1 minute')
  expect(await web.session(cookie)).toBeUndefined()
})

test('a suspended tenant’s links and sessions are nothing until it is resumed', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const cookie = await place.signIn('demo')
  const { token } = await auth.createLoginLink(place.tenant, 'demo', actor)
  await place.suspend()
  expect(await web.session(cookie)).toBeUndefined()
  expect(await web.redeem(token)).toBeUndefined()
  await place.resume()
  expect(await web.session(cookie)).toBeDefined()
})

test('ends the session that is asked for, once, and no other', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const [laptop, phone] = [await place.signIn('demo'), await place.signIn('demo')]
  await Promise.all([web.end(laptop), web.end(laptop)])
  expect(await web.session(laptop)).toBeUndefined()
  expect(await web.session(phone)).toBeDefined()
  expect(await place.events('web.logout')).toHaveLength(1)
})

test('a token is no cookie, and a cookie no token', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const cookie = await place.signIn('demo')
  const { token } = await auth.createLoginLink(place.tenant, 'demo', actor)
  expect(await web.session(token)).toBeUndefined()
  expect(await web.redeem(cookie)).toBeUndefined()
  await web.end(token)
  expect(await web.redeem(token)).toBeDefined()
})

test('a token moved to another tenant is nothing, and stays good where it is from', async () => {
  const [acme, globex] = [await fixture.place(), await fixture.place()]
  await acme.user('demo')
  await globex.user('demo')
  const { token } = await auth.createLoginLink(acme.tenant, 'demo', actor)
  const moved = (text: string, tenant: string) => text.replace(acme.tenant, tenant)
  for (const tenant of [globex.tenant, newTenantId(), systemTenant]) {
    expect(await web.redeem(moved(token, tenant))).toBeUndefined()
    expect(await adminAuth.redeem(moved(token, tenant))).toBeUndefined()
  }
  const cookie = some(await web.redeem(token))
  for (const tenant of [globex.tenant, newTenantId(), systemTenant]) {
    expect(await web.session(moved(cookie, tenant))).toBeUndefined()
    expect(await adminAuth.session(moved(cookie, tenant))).toBeUndefined()
    await web.end(moved(cookie, tenant))
  }
  expect(await web.session(cookie)).toMatchObject({ tenant: acme.tenant })
})

test.each([
  ['nothing', () => ''],
  ['one character less', (text: string) => text.slice(0, -1)],
  ['one character more', (text: string) => `${text}A`],
  [
    'another first character',
    (text: string) => text.replace(/\.(.)/, (_, c) => (c === 'A' ? '.B' : '.A')),
  ],
  ['a line behind it', (text: string) => `${text}\n`],
  ['its tenant in capitals', (text: string) => text.replace(/^[^.]+/, (id) => id.toUpperCase())],
  ['no tenant', (text: string) => text.replace(/^[^.]+\./, '')],
  ['SQL', (text: string) => text.replace(/^[^.]+/, "' or true --".padEnd(36, '-'))],
])('a cookie and a token with %s are nothing', async (_what, change) => {
  const place = await fixture.place()
  await place.user('demo')
  const cookie = await place.signIn('demo')
  const { token } = await auth.createLoginLink(place.tenant, 'demo', actor)
  expect(await web.session(change(cookie))).toBeUndefined()
  expect(await web.redeem(change(token))).toBeUndefined()
  await web.end(change(cookie))
  expect(await web.session(cookie)).toBeDefined()
  expect(await web.redeem(token)).toBeDefined()
})

test('no two tokens are the same, and the database has nothing of one', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const tokens = [await place.signIn('demo'), await place.signIn('demo')]
  tokens.push((await auth.createLoginLink(place.tenant, 'demo', actor)).token)
  const secrets = tokens.map((token) => some(token.split('.')[1]))
  expect(new Set(secrets).size).toBe(3)
  const rows: string[] = []
  for (const table of ['login_link', 'web_session', 'audit_leaf', 'audit_private']) {
    const found = await database.superuser<{ row: string }>(`select t::text as row from ${table} t`)
    rows.push(...found.map(({ row }) => row))
  }
  const dump = rows.join('\n')
  expect(dump).toContain(place.tenant)
  for (const secret of secrets) {
    const bytes = Buffer.from(secret, 'base64url')
    expect(bytes).toHaveLength(32)
    for (const form of [secret, bytes.toString('hex'), Buffer.from(secret).toString('hex')]) {
      expect(dump.includes(form)).toBe(false)
    }
  }
})

test('makes a link for nobody who is not there', async () => {
  const place = await fixture.place()
  await expect(auth.createLoginLink(place.tenant, 'demo', actor)).rejects.toMatchObject({
    code: 'ERR_USER_MISSING',
  })
})

test('what has run out is swept away by a job, and nothing else', async () => {
  const place = await fixture.place()
  await place.user('demo')
  await place.signIn('demo')
  const kept = await place.signIn('demo')
  await auth.createLoginLink(place.tenant, 'demo', actor)
  await setBack('login_link', 'expires_at', place.tenant, '1 hour')
  await database.superuser(
    `update web_session set seen_at = now() - interval '1 day' where tenant_id = $1
       and created_at = (select min(created_at) from web_session where tenant_id = $1)`,
    [place.tenant],
  )
  const rows = () =>
    database.superuser(
      `select (select count(*)::int from login_link where tenant_id = $1) as links,
         (select count(*)::int from web_session where tenant_id = $1) as sessions`,
      [place.tenant],
    )
  expect(await rows()).toEqual([{ links: 1, sessions: 2 }])
  await fixture.sweep(place.tenant)
  expect(await rows()).toEqual([{ links: 0, sessions: 1 }])
  expect(await web.session(kept)).toBeDefined()
})

test('a link that is opened while its tenant is suspended is good afterwards', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const { token } = await auth.createLoginLink(place.tenant, 'demo', actor)
  await place.suspend()
  expect(await web.redeem(token)).toBeUndefined()
  await database.superuser('update tenant set suspended_at = null where tenant_id = $1', [
    place.tenant,
  ])
  expect(await web.redeem(token)).toBeDefined()
  expect(await web.redeem(token)).toBeUndefined()
})
