import { createHash } from 'node:crypto'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAdmin } from '../../src/admin/index.ts'
import { createAdminAuth } from '../../src/auth/index.ts'
import { systemTenant } from '../../src/postgres/index.ts'
import { createTenants } from '../../src/tenant/index.ts'
import { actor } from '../access/access-fixture.ts'
import { openBrowser } from '../support/browser.ts'
import { PasskeyPage } from '../support/passkey-page.ts'
import { silent } from '../support/postgres.ts'
import { listenByName, openLocalPortalFixture } from './portal-fixture.ts'

/** Both planes on listeners of their own, and Chromium with virtual security keys. */
const fixture = await openLocalPortalFixture()
const { auth, audit, database, portal, vault } = fixture
const adminAuth = createAdminAuth({
  database: database.app,
  vault,
  log: silent,
  metrics: new Registry(),
})
const admin = await createAdmin({
  adminAuth,
  tenants: createTenants({ database: database.app, vault, log: silent }),
  vault,
  metrics: new Registry(),
  log: silent,
  publicUrl: undefined,
  checks: {},
})
let browser: Awaited<ReturnType<typeof openBrowser>>
let portalUrl = ''
let adminUrl = ''
beforeAll(async () => {
  browser = await openBrowser()
  portalUrl = await listenByName(portal)
  adminUrl = await listenByName(admin)
})
afterAll(async () => {
  await browser?.close()
  await admin.close()
})

const place = await fixture.place()
let people = 0

/** A page of a new member who has just signed in by a link. */
async function newcomer(at = place) {
  const name = `user-${people++}`
  const { user } = await at.person(name, 'member')
  const page = await PasskeyPage.open(browser, `${portalUrl}/login`)
  await page.enter((await auth.createLoginLink(at.tenant, name, actor)).token)
  return { page, name, user }
}

/** The same with a passkey, and a fresh proof for changes of it. */
async function holder(at = place) {
  const person = await newcomer(at)
  expect((await person.page.addPasskey('laptop')).status).toBe(201)
  return person
}

const refused = { status: 403, body: { error: { code: 'ERR_PASSKEY_REFUSED' } } }
const events = async (type: string, user: string) =>
  (await place.events()).filter((one) => one.type === type && one.public.user === user)

test('somebody who signed in by a link adds a passkey, signs in by it, and it is on the log', async () => {
  const { page, name, user } = await newcomer()
  expect(await page.addPasskey('laptop')).toMatchObject({
    status: 201,
    body: { name: 'laptop', usedAt: null, transports: ['internal'] },
  })
  await page.page.context().clearCookies()
  expect((await page.ask('GET', '/self/passkeys')).status).toBe(401)
  expect((await page.signIn()).status).toBe(204)
  expect(await page.ask('GET', '/self')).toMatchObject({ status: 200, body: { user: name } })
  const { body } = await page.ask('GET', '/self/passkeys')
  expect(body).toMatchObject({ items: [{ name: 'laptop', usedAt: expect.any(String) }] })

  const [added] = await events('factor.add', user.id)
  expect(added).toMatchObject({
    public: { factorKind: 'passkey', actor: user.id, stepUp: 'sign-in' },
    private: { factorName: 'laptop', source: '127.0.0.1' },
  })
  const logins = await events('web.login', user.id)
  expect(logins.map((one) => one.public.proof)).toEqual(['link', 'passkey'])
  expect(logins[1]).toMatchObject({
    public: { factor: added?.public.factor },
    private: { source: '127.0.0.1', device: expect.stringContaining('Chrome') },
  })
})

test('the web sessions of a person tell where they are, and end one by one or all but this', async () => {
  const { page, name } = await newcomer()
  const others = [await fixture.signIn(place, name), await fixture.signIn(place, name)]
  const { body } = await page.ask('GET', '/self/web-sessions')
  const items = body.items as { id: string; current: boolean; device: string }[]
  expect(items).toHaveLength(3)
  expect(items.filter(({ current }) => current)).toMatchObject([
    { proof: 'link', source: '127.0.0.1', device: expect.stringContaining('Chrome') },
  ])
  const other = items.find(({ current }) => !current)
  expect((await page.ask('DELETE', `/self/web-sessions/${other?.id}`)).status).toBe(204)
  expect((await page.ask('GET', '/self/web-sessions')).body.items).toHaveLength(2)
  expect(await page.ask('POST', '/self/web-sessions/end-others', {})).toMatchObject({
    body: { ended: 1 },
  })
  for (const cookie of others) {
    expect((await fixture.ask('GET', '/api/v1/self', cookie)).statusCode).not.toBe(200)
  }
  expect((await page.ask('GET', '/self')).status).toBe(200)
})

test('a change of factors needs a fresh proof once there is one, for this purpose, in this web session', async () => {
  const { page, user } = await holder()
  const change = () => page.ask('POST', '/self/passkeys/options', {})
  const needed = { status: 428, body: { error: { purpose: 'factor.change' } } }
  expect(await change()).toMatchObject(needed)
  expect((await page.stepUp('key.change')).status).toBe(200)
  expect(await change()).toMatchObject(needed)
  const cookie = async () => (await page.page.context().cookies())[0]?.value
  const before = await cookie()
  expect(await page.stepUp('factor.change')).toMatchObject({
    status: 200,
    body: { purpose: 'factor.change', expiresAt: expect.any(String) },
  })
  expect((await change()).status).toBe(200)
  // The session has another cookie, and is the same one.
  expect(await cookie()).not.toBe(before)
  expect(await auth.web.session(before ?? '')).toBeUndefined()
  const proofs = await events('web.step-up', user.id)
  expect(proofs.map((one) => one.public.purpose)).toEqual(['key.change', 'factor.change'])

  await page.page.context().clearCookies()
  expect((await page.signIn()).status).toBe(204)
  expect(await change()).toMatchObject(needed)
})

test('a proof lasts 300 seconds', async () => {
  const { page, user } = await holder()
  await page.stepUp('factor.change')
  const age = (by: string) =>
    database.superuser(
      `update step_up_proof p set proved_at = p.proved_at - $2::interval,
         expires_at = p.expires_at - $2::interval
         from web_session s where s.id = p.web_session_id and s.user_id = $1`,
      [user.id, by],
    )
  await age('290 seconds')
  expect((await page.ask('POST', '/self/passkeys/options', {})).status).toBe(200)
  await age('10 seconds')
  expect((await page.ask('POST', '/self/passkeys/options', {})).status).toBe(428)
})

test('attack: an open browser that was found later gets no first passkey', async () => {
  const { page, user } = await newcomer()
  await database.superuser(
    "update web_session set proved_at = proved_at - interval '16 minutes' where user_id = $1",
    [user.id],
  )
  expect(await page.ask('POST', '/self/passkeys/options', {})).toMatchObject({
    status: 428,
    body: { error: { code: 'ERR_SIGN_IN_STALE' } },
  })
})

test('the last passkey is removed only when that is wanted, and other browsers are signed out', async () => {
  const { page, name, user } = await holder()
  await page.stepUp('factor.change')
  const other = await fixture.signIn(place, name)
  const { body } = await page.ask('GET', '/self/passkeys')
  const [{ id }] = body.items as [{ id: string }]
  expect(await page.ask('DELETE', `/self/passkeys/${id}`)).toMatchObject({
    status: 409,
    body: { error: { code: 'ERR_LAST_WAY_IN' } },
  })
  expect((await page.ask('DELETE', `/self/passkeys/${id}?lastWayIn=true`)).status).toBe(204)
  expect(await auth.web.session(other.slice('vaultterm='.length))).toBeUndefined()
  expect(await events('factor.remove', user.id)).toMatchObject([{ public: { stepUp: 'passkey' } }])
  await page.page.context().clearCookies()
  expect(await page.signIn()).toMatchObject(refused)
})

test('attack: of two browsers that add the first passkey at once, the one that is signed out adds none', async () => {
  for (let round = 0; round < 3; round++) {
    const { page, name, user } = await newcomer()
    const other = await PasskeyPage.open(browser, `${portalUrl}/login`)
    await other.enter((await auth.createLoginLink(place.tenant, name, actor)).token)
    const answers = await Promise.all([page.addPasskey('ours'), other.addPasskey('theirs')])
    expect(answers.map(({ status }) => status).toSorted()[0]).toBe(201)
    expect(await events('factor.add', user.id)).toHaveLength(1)
    await page.page.context().close()
    await other.page.context().close()
  }
})

test('attack: passkeys that are added while an operator removes them all do not stay', async () => {
  const { page, name } = await holder()
  await page.stepUp('factor.change')
  const adding = Promise.all(['a', 'b', 'c'].map((one) => page.addPasskey(one).catch(() => {})))
  await auth.forgetPasskeys(place.tenant, name, actor)
  await adding
  await page.page.context().clearCookies()
  expect(await page.signIn()).toMatchObject(refused)
})

test('an operator lets somebody back in who lost their passkeys', async () => {
  const { page, name, user } = await holder()
  expect(await auth.forgetPasskeys(place.tenant, name, actor)).toBe(1)
  expect((await page.ask('GET', '/self')).status).toBe(401)
  expect(await page.signIn()).toMatchObject(refused)
  expect(await events('factor.remove', user.id)).toMatchObject([{ public: { actor: 'cli' } }])
  await page.enter((await auth.createLoginLink(place.tenant, name, actor)).token)
  expect((await page.addPasskey('new')).status).toBe(201)
  await expect(auth.forgetPasskeys(place.tenant, 'nobody', actor)).rejects.toMatchObject({
    code: 'ERR_USER_MISSING',
  })
  await expect(adminAuth.forgetPasskeysOf('nobody', actor)).rejects.toMatchObject({
    code: 'ERR_ADMIN_MISSING',
  })
})

test('attack: an answer counts once, and not for another purpose or web session', async () => {
  const { page } = await holder()
  const options = async (purpose: string) =>
    (await page.ask('POST', '/self/step-up/passkey/options', { purpose })).body
  const send = (purpose: string, answer: object, at = page) =>
    at.ask('POST', '/self/step-up/passkey', { purpose, answer })
  const answer = await page.get(await options('factor.change'))
  expect(await send('key.change', answer)).toMatchObject(refused)
  const next = await page.get(await options('factor.change'))
  expect((await send('factor.change', next)).status).toBe(200)
  expect(await send('factor.change', next)).toMatchObject(refused)

  const signing = await page.get((await page.ask('POST', '/sign-in/passkey/options', {})).body)
  expect(await send('factor.change', signing)).toMatchObject(refused)
  const proving = await page.get(await options('factor.change'))
  expect(await page.ask('POST', '/sign-in/passkey', { answer: proving })).toMatchObject(refused)

  // A colleague's session, with an answer of this one.
  const colleague = await holder()
  const own = await page.get(await options('factor.change'))
  expect(await send('factor.change', own, colleague.page)).toMatchObject(refused)
})

test('attack: two who send one sign-in at the same time are one web session', async () => {
  const { page } = await holder()
  const { body } = await page.ask('POST', '/sign-in/passkey/options', {})
  const answer = await page.get(body)
  const statuses = await Promise.all(
    [1, 2, 3].map(async () => (await page.ask('POST', '/sign-in/passkey', { answer })).status),
  )
  expect(statuses.toSorted()).toEqual([204, 403, 403])
})

test('attack: a passkey that did not verify its user signs nobody in, and is not registered', async () => {
  const { page } = await holder()
  await page.verifies(false)
  const { body } = await page.ask('POST', '/sign-in/passkey/options', {})
  const answer = await page.get({ ...body, userVerification: 'discouraged' })
  expect(await page.ask('POST', '/sign-in/passkey', { answer })).toMatchObject(refused)

  // Nothing signs an attestation of this kind, so its flag can be taken away.
  const fresh = await newcomer()
  const made = await fresh.page.create(
    (await fresh.page.ask('POST', '/self/passkeys/options', {})).body,
  )
  const bytes = Buffer.from(String(made.response.attestationObject), 'base64url')
  const flags = bytes.indexOf(createHash('sha256').update('localhost').digest()) + 32
  expect(Number(bytes[flags]) & 5).toBe(5)
  bytes[flags] = Number(bytes[flags]) & ~4
  made.response.attestationObject = bytes.toString('base64url')
  expect(
    await fresh.page.ask('POST', '/self/passkeys', { name: 'weak', answer: made }),
  ).toMatchObject(refused)
  expect((await fresh.page.ask('GET', '/self/passkeys')).body.items).toEqual([])
})

test('attack: what a page of another origin had signed is refused', async () => {
  const { page } = await holder()
  const { body } = await page.ask('POST', '/sign-in/passkey/options', {})
  // The same site for the browser: localhost, on another port.
  await page.page.goto(`${adminUrl}/login`)
  const answer = await page.get(body)
  await page.page.goto(`${portalUrl}/login`)
  expect(await page.ask('POST', '/sign-in/passkey', { answer })).toMatchObject(refused)
})

test('attack: a passkey is nothing in another tenant, and nothing of another person', async () => {
  const { page, user } = await holder()
  const globex = await fixture.place()
  const foreign = await globex.person('foreign', 'owner')
  const colleague = await place.person('colleague', 'owner')
  const handleOf = (tenant: string, id: string) =>
    Buffer.from(`${tenant}${id}`.replaceAll('-', ''), 'hex').toString('base64url')
  for (const userHandle of [
    handleOf(globex.tenant, foreign.user.id),
    handleOf(globex.tenant, user.id),
    handleOf(place.tenant, colleague.user.id),
    handleOf(systemTenant, user.id),
    handleOf('01900000-0000-7000-8000-000000000000', user.id),
    '',
    'AAAA',
  ]) {
    const { body } = await page.ask('POST', '/sign-in/passkey/options', {})
    const answer = await page.get(body)
    const response = { ...answer.response, userHandle }
    expect(
      await page.ask('POST', '/sign-in/passkey', { answer: { ...answer, response } }),
      userHandle,
    ).toMatchObject(refused)
  }
  // The control.
  expect((await page.signIn()).status).toBe(204)
  expect(await globex.events()).not.toContainEqual(expect.objectContaining({ type: 'web.login' }))
})

test('attack: a suspended tenant’s passkeys and removed people’s sign nobody in', async () => {
  const other = await fixture.place()
  const { page } = await holder(other)
  await database.app.write(other.tenant, (tx) => tx.run('update tenant set suspended_at = now()'))
  expect(await page.signIn()).toMatchObject(refused)
  await database.app.write(other.tenant, (tx) => tx.run('update tenant set suspended_at = null'))
  expect((await page.signIn()).status).toBe(204)
  const removed = await holder()
  await auth.removeUser(place.tenant, removed.name, actor)
  expect(await removed.page.signIn()).toMatchObject(refused)
})

test('attack: a passkey that was changed in the database signs nobody in, nor does a copy of one', async () => {
  const [victim, mallory] = [await holder(), await holder()]
  // Whoever can write the table gives the victim's account their own key.
  await database.superuser('update passkey set user_id = $1 where user_id = $2', [
    victim.user.id,
    mallory.user.id,
  ])
  const { body } = await mallory.page.ask('POST', '/sign-in/passkey/options', {})
  const answer = await mallory.page.get(body)
  const handle = Buffer.from(`${place.tenant}${victim.user.id}`.replaceAll('-', ''), 'hex')
  const response = { ...answer.response, userHandle: handle.toString('base64url') }
  expect(
    await mallory.page.ask('POST', '/sign-in/passkey', { answer: { ...answer, response } }),
  ).toMatchObject(refused)

  const copied = await holder()
  await database.superuser('update passkey set counter = 1000 where user_id = $1', [copied.user.id])
  expect(await copied.page.signIn()).toMatchObject(refused)
  expect((await place.events()).filter(({ type }) => type === 'web.refused')).not.toEqual([])
})

test('administrators have passkeys of their own, and neither plane takes the other’s', async () => {
  const page = await PasskeyPage.open(browser, `${adminUrl}/login`, '/api/v1/admin')
  await page.enter((await adminAuth.createLoginLink('root', actor)).token)
  expect((await page.addPasskey('key')).status).toBe(201)
  await page.page.context().clearCookies()
  expect((await page.signIn()).status).toBe(204)
  expect(await page.ask('GET', '/tenants')).toMatchObject({ status: 200 })
  expect((await page.stepUp('factor.change')).status).toBe(200)
  const log = await audit.tail(systemTenant, { limit: 100 })
  expect(log.map(({ type }) => type)).toContain('factor.add')

  // Signed on the admin plane's page, for the portal; and the other way round.
  const { page: user } = await holder()
  const portalOptions = (await user.ask('POST', '/sign-in/passkey/options', {})).body
  const adminOptions = (await page.ask('POST', '/sign-in/passkey/options', {})).body
  const forPortal = await page.get(portalOptions)
  expect(await user.ask('POST', '/sign-in/passkey', { answer: forPortal })).toMatchObject(refused)
  const forAdmin = await user.get(adminOptions)
  expect(await page.ask('POST', '/sign-in/passkey', { answer: forAdmin })).toMatchObject(refused)
  for (const path of ['/self/passkeys', '/self/web-sessions']) {
    const { status } = await fetch(`${portalUrl}/api/v1/admin${path}`)
    expect(status).toBe(404)
  }
})

test('passkeys work at one address, and other addresses name it', async () => {
  const at = portalUrl.replace('localhost', '127.0.0.1')
  const answer = await fetch(`${at}/api/v1/sign-in/passkey/options`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  })
  expect(answer.status).toBe(409)
  const { error } = (await answer.json()) as { error: { code: string; message: string } }
  expect(error.code).toBe('ERR_PASSKEY_ADDRESS')
  expect(error.message).toContain(portalUrl)
})

test('attack: wrong and huge answers are refused by their form, with no word of what they held', async () => {
  const { page } = await newcomer()
  for (const answer of [
    {},
    { id: 'a' },
    { id: '!', rawId: '', type: 'public-key', response: {} },
    { id: 'secret-value', rawId: 'a', type: 'other', response: {} },
  ]) {
    const { status, body } = await page.ask('POST', '/sign-in/passkey', { answer })
    expect(status).toBe(400)
    expect(JSON.stringify(body)).not.toContain('secret-value')
  }
  const { status } = await page.ask('POST', '/sign-in/passkey', { answer: 'x'.repeat(100_000) })
  expect(status).toBe(413)
})
