import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Role, roles } from '../../src/auth/index.ts'
import { formatPublicKey } from '../../src/ssh/index.ts'
import { actor, newKey } from '../access/access-fixture.ts'
import { openBrowser } from '../support/browser.ts'
import { PasskeyPage } from '../support/passkey-page.ts'
import { listenByName, type Method, openLocalPortalFixture } from './portal-fixture.ts'

/** The members of a tenant in the hands of its own people: by the routes, and on the page in Chromium. */
const fixture = await openLocalPortalFixture()
const { auth, database, portal } = fixture
let browser: Awaited<ReturnType<typeof openBrowser>>
let portalUrl = ''
beforeAll(async () => {
  browser = await openBrowser()
  portalUrl = await listenByName(portal)
})
afterAll(() => browser?.close())

/** A tenant of its own, with one signed-in person of each role, each with a passkey and a fresh proof. */
async function openTeam() {
  const place = await fixture.place()
  const people = new Map<Role, { readonly id: string; readonly cookie: string }>()
  for (const role of roles) people.set(role, await join(role, role))
  async function join(name: string, role: Role) {
    const { user } = await place.person(name, role)
    await fixture.givePasskey(place, user.id)
    const cookie = await fixture.signIn(place, name)
    await fixture.prove(user.id)
    return { id: user.id, cookie }
  }
  const as = (role: Role) => {
    const person = people.get(role)
    if (person === undefined) throw new Error('no such person')
    return person
  }
  async function ask(cookie: string, method: Method, path: string, body?: object) {
    const headers = { cookie, ...(body && { 'content-type': 'application/json' }) }
    const answer = await fetch(`${portalUrl}/api/v1${path}`, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    const content = text === '' ? {} : JSON.parse(text)
    return { status: answer.status, code: content.error?.code, body: content }
  }
  return { place, as, ask, join }
}

const tokenOf = (url: string) => new URL(url).searchParams.get('token') ?? ''

test('an owner invites a colleague on the page, who signs in by the link, and stands on the list', async () => {
  const place = await fixture.place()
  await place.person('ines', 'owner')
  const keys = await PasskeyPage.open(browser, `${portalUrl}/login`)
  await keys.enter((await auth.createLoginLink(place.tenant, 'ines', actor)).token)
  await keys.addPasskey('laptop')
  const { page } = keys
  await page.goto(`${portalUrl}/settings/security`)
  await page.getByRole('link', { name: 'Members' }).click()
  await page.getByRole('button', { name: 'Invite a member' }).click()
  await page.getByLabel('User name').fill('jonas')
  await page.getByLabel('E-mail address').fill('jonas@example.test')
  await page.getByRole('radio', { name: /^auditor/ }).check()
  await page.getByRole('button', { name: 'Invite', exact: true }).click()
  await page.getByRole('button', { name: 'Confirm with your passkey' }).click()
  await page.getByRole('heading', { name: 'The link for jonas' }).waitFor()
  const link = (await page.locator('dialog[open] pre').textContent()) ?? ''
  // The secret is not lost by a key.
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'I have it' }).click()
  await page.locator('[data-member="jonas"]').getByText('invited').waitFor()

  const other = await (await browser.newContext()).newPage()
  await other.goto(link)
  await other.getByRole('button', { name: 'Sign in' }).click()
  await other.getByText('Sign in without a link next time.').waitFor()
  expect(await other.getByText('jonas', { exact: true }).count()).toBe(1)
  await page.reload()
  await page.locator('[data-member="jonas"]').getByText('auditor').waitFor()
  expect(await page.locator('[data-member="jonas"]').getByText('invited').count()).toBe(0)

  const log = await place.events()
  const owner = log.find((one) => one.type === 'factor.add')?.public.user
  const added = log.filter((one) => one.type === 'user.add').at(-1)
  expect(added).toMatchObject({
    public: { role: 'auditor', actor: owner, actorKind: 'user', stepUp: 'passkey' },
    private: { name: 'jonas', email: 'jonas@example.test', actorName: 'ines', source: '127.0.0.1' },
  })
  const { user } = added?.public ?? {}
  expect(log.find((one) => one.type === 'web.link' && one.public.user === user)).toMatchObject({
    public: { actor: owner, stepUp: 'passkey' },
  })

  await page.getByRole('button', { name: 'Change role of jonas' }).click()
  await page.getByRole('radio', { name: /^admin/ }).check()
  await page.getByRole('button', { name: 'Change the role' }).click()
  await page.getByText('jonas is admin now.').waitFor()
  await page.locator('[data-member="jonas"]').getByText('admin', { exact: true }).waitFor()
  // His browser is signed in on, with the rights that he has now.
  await other.goto(`${portalUrl}/settings/members`)
  await other.getByRole('button', { name: 'Invite a member' }).waitFor()

  await page.getByRole('button', { name: 'Remove jonas' }).click()
  const sure = page.getByRole('button', { name: 'Remove the member' })
  await page.getByLabel('Type jonas to confirm').fill('jona')
  await sure.click()
  await page.getByText('Type the name as it is: jonas.').waitFor()
  await page.getByLabel('Type jonas to confirm').fill('jonas')
  await sure.click()
  await page.getByText('jonas was removed.').waitFor()
  await other.reload()
  await other.waitForURL((url) => url.pathname === '/login')
  await page.context().close()
  await other.context().close()
})

test('each role does what it may with members, and nothing else', async () => {
  const { as, ask } = await openTeam()
  for (const role of roles) {
    const { cookie } = as(role)
    const listed = await ask(cookie, 'GET', '/members')
    expect([role, listed.status]).toEqual([role, role === 'member' ? 403 : 200])
    const page = await fetch(`${portalUrl}/settings/members`, {
      headers: { cookie, accept: 'text/html' },
    })
    expect([role, page.status]).toEqual([role, role === 'member' ? 404 : 200])
    const mayChange = role === 'owner' || role === 'admin'
    for (const invited of roles) {
      const answer = await ask(cookie, 'POST', '/members', {
        name: `by-${role}-${invited}`,
        role: invited,
      })
      const may = role === 'owner' || (role === 'admin' && invited !== 'owner')
      expect([role, invited, answer.status]).toEqual([role, invited, may ? 201 : 403])
      if (mayChange && !may) expect(answer.code).toBe('ERR_ROLE_ABOVE')
    }
    const other = as(role === 'auditor' ? 'member' : 'auditor').id
    const link = await ask(cookie, 'POST', `/members/${other}/invitation`, {})
    expect([role, link.status]).toEqual([role, mayChange ? 409 : 403])
    if (!mayChange)
      expect((await ask(cookie, 'DELETE', `/members/${as('owner').id}`)).status).toBe(403)
  }
  const admin = as('admin').cookie
  expect(await ask(admin, 'DELETE', `/members/${as('owner').id}`)).toMatchObject({
    status: 403,
    code: 'ERR_ROLE_ABOVE',
  })
})

test('attack: no link is made for somebody who has a way in', async () => {
  const { place, as, ask } = await openTeam()
  const { cookie } = as('owner')
  for (const role of ['admin', 'auditor', 'member'] as const) {
    expect(await ask(cookie, 'POST', `/members/${as(role).id}/invitation`, {})).toMatchObject({
      status: 409,
      code: 'ERR_MEMBER_ACTIVE',
    })
  }
  const { user } = await place.person('only-a-key')
  expect(await ask(cookie, 'POST', `/members/${user.id}/invitation`, {})).toMatchObject({
    status: 409,
  })
  const { user: browsing } = await place.person('only-signed-in')
  await database.superuser('delete from user_key where user_id = $1', [browsing.id])
  await fixture.signIn(place, 'only-signed-in')
  expect(await ask(cookie, 'POST', `/members/${browsing.id}/invitation`, {})).toMatchObject({
    status: 409,
  })
})

test('attack: no link is made for somebody who comes by certificates, also between two of them', async () => {
  const { place, as, ask } = await openTeam()
  const { cookie } = as('admin')
  const { body } = await ask(cookie, 'POST', '/members', { name: 'certy' })
  const { id } = body.member
  const order = { user: { id, name: 'certy' }, publicKey: newKey(), ttlSeconds: 60 }
  await fixture.ca.issueUser(place.tenant, order, { public: {}, private: {} })
  const refused = async () => {
    expect(await ask(cookie, 'POST', `/members/${id}/invitation`, {})).toMatchObject({
      status: 409,
      code: 'ERR_MEMBER_ACTIVE',
    })
    const { items } = (await ask(cookie, 'GET', '/members')).body
    expect(items.find((one: { id: string }) => one.id === id)).toMatchObject({ isInvited: false })
  }
  await refused()
  // Nor does one that the admin kept from before sign in.
  expect(await auth.web.redeem(tokenOf(body.invitation.url))).toBeUndefined()
  await database.superuser(
    "update user_certificate set expires_at = now() - interval '3 days' where user_id = $1",
    [id],
  )
  await refused()
})

test('attack: nobody is invited again whose keys and passkeys were taken away, and an operator’s link stays', async () => {
  const { place, as, ask } = await openTeam()
  const admin = as('admin').cookie
  const { user } = await place.person('robbed')
  await fixture.givePasskey(place, user.id)
  const cookie = await fixture.signIn(place, 'robbed')
  for (const { fingerprint } of await auth.listKeys(place.tenant, 'robbed')) {
    await auth.removeKey(place.tenant, fingerprint, actor)
  }
  await auth.forgetPasskeys(place.tenant, 'robbed', actor)
  expect(await auth.web.session(cookie.slice('vaultterm='.length))).toBeUndefined()
  const { token } = await auth.createLoginLink(place.tenant, 'robbed', actor)
  expect(await ask(admin, 'POST', `/members/${user.id}/invitation`, {})).toMatchObject({
    status: 409,
    code: 'ERR_MEMBER_ACTIVE',
  })
  expect(await auth.web.redeem(token)).toBeDefined()
})

test('a new link takes the place of the earlier ones, and each signs in once', async () => {
  const { as, ask } = await openTeam()
  const { cookie } = as('admin')
  const { body } = await ask(cookie, 'POST', '/members', { name: 'new' })
  const again = await ask(cookie, 'POST', `/members/${body.member.id}/invitation`, {})
  expect(again.status).toBe(201)
  expect(await auth.web.redeem(tokenOf(body.invitation.url))).toBeUndefined()
  expect(await auth.web.redeem(tokenOf(again.body.url))).toBeDefined()
  expect(await auth.web.redeem(tokenOf(again.body.url))).toBeUndefined()
  const days = (Date.parse(again.body.expiresAt) - Date.now()) / 86_400_000
  expect(days).toBeGreaterThan(6.9)
  expect(days).toBeLessThanOrEqual(7)
})

test('attack: an invitation that its maker kept signs nobody in once the member has a way in', async () => {
  const { place, as, ask } = await openTeam()
  const invite = async (name: string) => {
    const { body } = await ask(as('admin').cookie, 'POST', '/members', { name })
    return { id: body.member.id, token: tokenOf(body.invitation.url) }
  }
  const [first, second] = [await invite('by-a-key'), await invite('by-an-operator')]
  const key = formatPublicKey({ type: 'ssh-ed25519', blob: newKey() })
  await auth.addKey(place.tenant, 'by-a-key', key, {}, actor)
  const { token } = await auth.createLoginLink(place.tenant, 'by-an-operator', actor)
  expect(await auth.web.redeem(token)).toBeDefined()
  for (const kept of [first, second]) {
    expect(await auth.web.redeem(kept.token)).toBeUndefined()
    const refusals = (await place.events()).filter(({ type }) => type === 'web.refused')
    expect(refusals.filter((one) => one.public.user === kept.id)).toMatchObject([
      { public: { proof: 'link', code: 'ERR_LINK_SPENT' } },
    ])
  }
  // An operator's link goes on to sign in whoever lost the other ways.
  const last = await auth.createLoginLink(place.tenant, 'by-a-key', actor)
  expect(await auth.web.redeem(last.token)).toBeDefined()
})

test('attack: of a link that is used and another one that is made at the same moment, one counts', async () => {
  const { as, ask } = await openTeam()
  const { cookie } = as('admin')
  for (let round = 0; round < 5; round++) {
    const { body } = await ask(cookie, 'POST', '/members', { name: `new-${round}` })
    const [session, again] = await Promise.all([
      auth.web.redeem(tokenOf(body.invitation.url)),
      ask(cookie, 'POST', `/members/${body.member.id}/invitation`, {}),
    ])
    const second = again.status === 201 ? await auth.web.redeem(tokenOf(again.body.url)) : undefined
    expect([session, second].filter((one) => one !== undefined)).toHaveLength(1)
  }
})

test('attack: an admin who is removed does not come back by an invitation', async () => {
  for (const by of ['a colleague', 'an operator']) {
    const { place, as, ask } = await openTeam()
    const { body } = await ask(as('admin').cookie, 'POST', '/members', {
      name: 'ghost',
      role: 'admin',
    })
    const operators = await auth.createLoginLink(place.tenant, 'ghost', actor)
    if (by === 'an operator') await auth.removeUser(place.tenant, 'admin', actor)
    else await ask(as('owner').cookie, 'DELETE', `/members/${as('admin').id}`)
    expect(await auth.web.redeem(tokenOf(body.invitation.url))).toBeUndefined()
    expect(await auth.web.redeem(operators.token)).toBeDefined()
  }
})

test("attack: another tenant's members are as if there were none", async () => {
  const [ours, theirs] = [await openTeam(), await openTeam()]
  const { cookie } = ours.as('owner')
  const { body } = await theirs.ask(theirs.as('owner').cookie, 'POST', '/members', { name: 'new' })
  for (const id of [
    body.member.id,
    theirs.as('member').id,
    '00000000-0000-0000-0000-000000000000',
  ]) {
    expect(await ours.ask(cookie, 'DELETE', `/members/${id}`)).toMatchObject({ status: 404 })
    expect(await ours.ask(cookie, 'PATCH', `/members/${id}`, { role: 'admin' })).toMatchObject({
      status: 404,
    })
    expect(await ours.ask(cookie, 'POST', `/members/${id}/invitation`, {})).toMatchObject({
      status: 404,
    })
  }
  const listed = await ours.ask(cookie, 'GET', '/members')
  expect(JSON.stringify(listed.body)).not.toContain(theirs.as('member').id)
  expect(await auth.web.redeem(tokenOf(body.invitation.url))).toBeDefined()
})

test('attack: an open browser invites and removes nobody without a fresh proof', async () => {
  const { as, ask } = await openTeam()
  const { cookie, id } = as('owner')
  await database.superuser(
    'delete from step_up_proof where web_session_id in (select id from web_session where user_id = $1)',
    [id],
  )
  const asked: readonly (readonly [Method, string, object | undefined])[] = [
    ['POST', '/members', { name: 'new' }],
    ['POST', `/members/${as('member').id}/invitation`, {}],
    ['DELETE', `/members/${as('member').id}`, undefined],
    ['PATCH', `/members/${as('member').id}`, { role: 'admin' }],
  ]
  for (const [method, path, body] of asked) {
    expect(await ask(cookie, method, path, body)).toMatchObject({
      status: 428,
      body: { error: { purpose: 'member.change' } },
    })
  }
  expect((await ask(cookie, 'GET', '/members')).body.items).toHaveLength(4)
})

test('attack: two owners who remove each other at once leave one', async () => {
  const { as, ask, join } = await openTeam()
  const [first, second] = [as('owner'), await join('second', 'owner')]
  const answers = await Promise.all([
    ask(first.cookie, 'DELETE', `/members/${second.id}`),
    ask(second.cookie, 'DELETE', `/members/${first.id}`),
  ])
  expect(answers.map(({ status }) => status).toSorted()[0]).toBe(204)
  const { items } = (await ask(as('auditor').cookie, 'GET', '/members')).body
  const owners = items.filter(({ role }: { role: string }) => role === 'owner')
  expect(owners).toHaveLength(1)
  const left = owners[0].id === first.id ? first : second
  expect(await ask(left.cookie, 'DELETE', `/members/${left.id}`)).toMatchObject({
    status: 409,
    code: 'ERR_LAST_OWNER',
  })
})

test('attack: a role that was lost while the request ran changes nobody', async () => {
  const { place, as } = await openTeam()
  const { cookie, id } = as('owner')
  const before = await auth.web.session(cookie.slice('vaultterm='.length))
  if (before === undefined) throw new Error('not signed in')
  await database.superuser("update app_user set role = 'member' where id = $1", [id])
  const refused = { code: 'ERR_ROLE_ABOVE' }
  await expect(
    auth.members.invite(before, { name: 'new', role: 'owner' }, actor),
  ).rejects.toMatchObject(refused)
  await expect(auth.members.remove(before, as('member').id, actor)).rejects.toMatchObject(refused)
  await expect(auth.members.setRole(before, as('member').id, 'owner', actor)).rejects.toMatchObject(
    refused,
  )
  expect((await auth.listUsers(place.tenant)).map(({ name }) => name)).not.toContain('new')
})

test('a role is changed by an event that says both, and by nobody for a role above their own', async () => {
  const { place, as, ask, join } = await openTeam()
  const set = (by: Role, id: string, role: string) =>
    ask(as(by).cookie, 'PATCH', `/members/${id}`, { role })
  const { id } = as('member')
  for (const by of ['member', 'auditor'] as const)
    expect((await set(by, id, 'admin')).status).toBe(403)
  const above = { status: 403, code: 'ERR_ROLE_ABOVE' }
  expect(await set('admin', id, 'owner')).toMatchObject(above)
  expect(await set('admin', as('owner').id, 'member')).toMatchObject(above)
  expect(await set('admin', id, 'member')).toMatchObject({ status: 409, code: 'ERR_ROLE_SAME' })
  expect((await set('admin', id, 'root')).status).toBe(400)
  expect(await place.events()).not.toContainEqual(expect.objectContaining({ type: 'user.role' }))

  expect(await set('admin', id, 'auditor')).toMatchObject({
    status: 200,
    body: { id, role: 'auditor' },
  })
  expect((await place.events()).at(-1)).toMatchObject({
    type: 'user.role',
    public: { user: id, role: 'auditor', roleBefore: 'member', actor: as('admin').id },
    private: { name: 'member', actorName: 'admin', source: '127.0.0.1' },
  })
  expect(await set('owner', as('owner').id, 'admin')).toMatchObject({
    status: 409,
    code: 'ERR_LAST_OWNER',
  })
  const second = await join('second', 'owner')
  expect((await set('owner', second.id, 'member')).status).toBe(200)
  // Neither the rights nor the fresh proof of the former role are left.
  const after = await ask(second.cookie, 'PATCH', `/members/${id}`, { role: 'admin' })
  expect(after.status).toBe(403)
})

test('attack: two owners who take the role of each other at once leave one', async () => {
  const { as, ask, join } = await openTeam()
  const [first, second] = [as('owner'), await join('second', 'owner')]
  await Promise.all([
    ask(first.cookie, 'PATCH', `/members/${second.id}`, { role: 'member' }),
    ask(second.cookie, 'PATCH', `/members/${first.id}`, { role: 'member' }),
  ])
  const { items } = (await ask(as('auditor').cookie, 'GET', '/members')).body
  expect(items.filter(({ role }: { role: string }) => role === 'owner')).toHaveLength(1)
})

test('attack: a link that its maker kept does not sign in with a role that was given later', async () => {
  for (const by of ['a colleague', 'an operator']) {
    const { place, as, ask } = await openTeam()
    const { body } = await ask(as('admin').cookie, 'POST', '/members', { name: 'ghost' })
    if (by === 'an operator') await auth.setRole(place.tenant, 'ghost', 'owner', actor)
    else await ask(as('owner').cookie, 'PATCH', `/members/${body.member.id}`, { role: 'owner' })
    expect(await auth.web.redeem(tokenOf(body.invitation.url))).toBeUndefined()
  }
})

test('attack: an admin who loses the role does not come back by an invitation', async () => {
  const { as, ask } = await openTeam()
  const { body } = await ask(as('admin').cookie, 'POST', '/members', {
    name: 'ghost',
    role: 'admin',
  })
  await ask(as('owner').cookie, 'PATCH', `/members/${as('admin').id}`, { role: 'member' })
  expect(await auth.web.redeem(tokenOf(body.invitation.url))).toBeUndefined()
})

test('a name or an address that is none is refused by its field, and a name that is there by name', async () => {
  const { as, ask } = await openTeam()
  const { cookie } = as('owner')
  for (const name of ['', 'A', '-a', 'a b', 'a\r\nb', 'x'.repeat(33), '<b>']) {
    expect((await ask(cookie, 'POST', '/members', { name })).status).toBe(400)
  }
  for (const email of ['a', 'a@b@c', 'a@b\r\nBcc: x@y', ' a@b']) {
    expect((await ask(cookie, 'POST', '/members', { name: 'new', email })).status).toBe(400)
  }
  expect(await ask(cookie, 'POST', '/members', { name: 'admin' })).toMatchObject({
    status: 409,
    code: 'ERR_USER_EXISTS',
  })
  expect((await ask(cookie, 'GET', '/members')).body.items).toHaveLength(4)
})
