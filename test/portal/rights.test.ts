import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { type Act, reachOf } from '../../src/access/index.ts'
import { type Role, roles, type WebIdentity } from '../../src/auth/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'
import { formatPublicKey } from '../../src/ssh/index.ts'
import { createTenants } from '../../src/tenant/index.ts'
import { actor, newKey, open, type Place } from '../access/access-fixture.ts'
import { silent } from '../support/postgres.ts'
import { type Method, openPortalFixture } from './portal-fixture.ts'

/** The portal over real modules: each role asks each route for each kind of session. */
const fixture = await openPortalFixture()
const { access, auth, database, portal, recordings, host, signIn, givePasskey, prove } = fixture

type Whose = 'own' | 'colleague' | 'other tenant'

/** The promise, apart from the code's own table: which sessions each right gives to each role. */
const promised: { readonly [right: string]: { readonly [role in Role]: readonly Whose[] } } = {
  'self.read': { owner: [], admin: [], auditor: [], member: [] },
  'self.change': { owner: [], admin: [], auditor: [], member: [] },
  'target.open': { owner: [], admin: [], auditor: [], member: [] },
  'session.read': {
    owner: ['own', 'colleague'],
    admin: ['own', 'colleague'],
    auditor: ['own', 'colleague'],
    member: ['own'],
  },
  'session.end': {
    owner: ['own', 'colleague'],
    admin: ['own', 'colleague'],
    auditor: ['own'],
    member: ['own'],
  },
  // Not of sessions: test/portal/members.test.ts says who may do what with members.
  'member.read': { owner: [], admin: [], auditor: [], member: [] },
  'member.change': { owner: [], admin: [], auditor: [], member: [] },
  'recording.read': {
    owner: ['own', 'colleague'],
    admin: ['own', 'colleague'],
    auditor: ['own', 'colleague'],
    member: ['own'],
  },
}

/** The routes that need no person. */
const forAnybody =
  /^(GET \/(health|readyz|metrics|login|api\/v1\/openapi\.json|assets\/.*)|POST \/(log(in|out)|api\/v1\/sign-in\/.*))$/

const routes = portal.routeRights.map((route) => ({
  ...route,
  name: `${route.method} ${route.path}`,
}))
const asked = routes.filter(({ right }) => right !== 'anybody')

const acme = await fixture.place()
const globex = await fixture.place()
await Promise.all([acme, globex].map((place) => place.target('web1')))
const others = await addPerson(acme, 'colleague', 'member')
const foreign = await addPerson(globex, 'foreign', 'owner')
const people = new Map<Role, Awaited<ReturnType<typeof addPerson>>>()
for (const role of roles) people.set(role, await addPerson(acme, `some-${role}`, role))

/** Somebody with one recorded session, signed in. */
async function addPerson(place: Place, name: string, role: Role, text = `${name} was here\r\n`) {
  const identity = await place.person(name, role)
  await access.addGrant(place.tenant, { user: name, target: 'web1' }, actor)
  const session = await open(access, identity, 'web1')
  const { output, recording } = await recordings.begin({ tenant: place.tenant, session })
  await output(text)
  const digest = await recording.end()
  const outcome = { tenant: place.tenant, bytes: 1, reason: 'ended', recording: digest }
  await access.endSession(session, outcome)
  return { identity, session, cookie: await signIn(place, name) }
}

const get = (path: string, cookie: string) => fixture.ask('GET', path, cookie)
const methods: readonly Method[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']
const ask = (method: string, path: string, cookie: string, body?: object) => {
  const known = methods.find((one) => one === method)
  if (known === undefined) throw new Error(`a method that this test does not know: ${method}`)
  return fixture.ask(known, path, cookie, body)
}

/** Of an act that the person may do. The sessions here have ended: none of them can be ended again. */
const allowedStatus = (right: string) => (right === 'session.end' ? 409 : 200)

/** A refusal without what no two answers have in common. */
async function refusal(method: string, path: string, cookie: string) {
  const { statusCode, headers, body } = await ask(method, path, cookie)
  const { date: _, 'x-request-id': requestId, ...rest } = headers
  return { statusCode, headers: rest, body: body.replace(String(requestId), '') }
}

const unknown = '01900000-0000-7000-8000-000000000000'

test('every route either is on the list of those for anybody or has a promised right', () => {
  for (const { name, right } of routes) {
    if (right === 'anybody') expect(name).toMatch(forAnybody)
    else expect(Object.keys(promised), name).toContain(right)
  }
  expect(asked.length).toBeGreaterThan(4)
})

/** The operations of the OpenAPI document, by their names here. */
async function describedRoutes() {
  const { body } = await get('/api/v1/openapi.json', '')
  const paths: Record<string, Record<string, Operation>> = JSON.parse(body).paths
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`,
      path,
      summary: operation.summary,
      right: operation['x-right'],
      stepUp: operation['x-step-up'],
    })),
  )
}

const memberWith = (role: Role) => ({
  tenant: acme.tenant,
  user: { id: others.identity.user.id, role },
})

interface Operation {
  readonly summary?: string
  readonly 'x-right'?: Act | 'anybody'
  readonly 'x-step-up'?: string
}

test('every route of the API stands in the document, with its right', async () => {
  const described = (await describedRoutes()).filter(({ right }) => right !== undefined)
  const api = routes.filter(({ path }) => /^\/api\/(?!v1\/openapi)/.test(path))
  expect(described.map(({ name, right }) => `${name} ${right}`).toSorted()).toEqual(
    api.map(({ name, right }) => `${name} ${right}`).toSorted(),
  )
})

test('docs/operations/permissions.md says who may do what', async () => {
  const rows = (await describedRoutes()).flatMap(({ path, name, summary, right, stepUp }) => {
    if (right === undefined || right === 'anybody') return []
    const reaches = roles.map((role) => reachOf(memberWith(role), right))
    return [
      `| ${name.split(' ')[0]} \`${path}\` | ${summary} | ${right} | ${stepUp ?? ''} | ${reaches.join(' | ')} |`,
    ]
  })
  const text = `# Who may do what

The routes of the product's API, the right that each asks for, and the things that each role reaches with it: \`all\` of
the tenant, the user's \`own\`, or \`none\`. Another tenant's things are out of reach for every role; the answer is the same
as if there were no such thing. The pages ask for the same rights. A route with a word under *step-up* also asks for a
proof for that purpose, at most 300 s old, that it is still the same person.

This page is made from the routes: \`bin/run test test/portal/rights.test.ts -u\` writes it.

| route | does | right | step-up | ${roles.join(' | ')} |
|---|---|---|---|${roles.map(() => '---|').join('')}
${rows.join('\n')}
`
  await expect(text).toMatchFileSnapshot('../../docs/operations/permissions.md')
})

const cells = asked
  .filter(({ right }) => right !== 'self.change' && !right.startsWith('member.'))
  .flatMap((route) => roles.map((role) => ({ ...route, role })))
test.each(cells)('$name gives $role exactly the promised sessions', async (cell) => {
  const { method, path, right, role } = cell
  const { session, cookie } = people.get(role) ?? others
  const things: { readonly [whose in Whose]: SessionId } = {
    own: session,
    colleague: others.session,
    'other tenant': foreign.session,
  }
  const mayRead = promised[right]?.[role] ?? []
  if (!path.includes(':')) {
    const { statusCode, body } = await get(path, cookie)
    expect(statusCode).toBe(200)
    const shown = Object.entries(things).filter(([, id]) => body.includes(id))
    expect(shown.map(([whose]) => whose)).toEqual(mayRead)
    return
  }
  const pathOf = (id: string) => path.replace(':id', id)
  expect(pathOf(''), 'a parameter that this test does not know').not.toContain(':')
  const missing = await refusal(method, pathOf(unknown), cookie)
  expect(missing.statusCode).toBe(404)
  for (const [whose, id] of Object.entries(things)) {
    if (mayRead.some((one) => one === whose)) {
      const { statusCode } = await ask(method, pathOf(id), cookie)
      expect([whose, statusCode]).toEqual([whose, allowedStatus(right)])
    } else expect([whose, await refusal(method, pathOf(id), cookie)]).toEqual([whose, missing])
  }
})

/** What a person has of their own, and may change: for each route with a parameter, how one of them is made. */
const belongings: {
  readonly [path: string]: (place: Place, name: string, user: string) => Promise<string>
} = {
  '/api/v1/self/web-sessions/:id': async (place, name) => {
    const cookie = await signIn(place, name)
    const identity = await auth.web.session(cookie.slice('vaultterm='.length))
    return identity?.session ?? ''
  },
  '/api/v1/self/keys/:id': async (place, name, user) => {
    const line = formatPublicKey({ type: 'ssh-ed25519', blob: newKey() })
    const { fingerprint } = await auth.addKey(place.tenant, name, line, {}, actor)
    const [row] = await database.superuser<{ id: string }>(
      'select id from user_key where user_id = $1 and fingerprint = $2',
      [user, fingerprint],
    )
    return row?.id ?? ''
  },
  '/api/v1/self/certificates/:id': async ({ tenant }, name, user) => {
    const order = { user: { id: user, name }, publicKey: newKey(), ttlSeconds: 60 }
    await fixture.ca.issueUser(tenant, order, { public: {}, private: {} })
    return (await fixture.ca.certificatesOf(tenant, user))[0]?.id ?? ''
  },
  '/api/v1/self/passkeys/:id': (place, _name, user) => givePasskey(place, user),
}

const changes = asked.filter(({ right }) => right === 'self.change')
const stepUps = new Map(
  (await describedRoutes()).flatMap(({ name, stepUp }) =>
    stepUp === undefined ? [] : [[name, stepUp] as const],
  ),
)
const ownCells = changes.flatMap((route) => roles.map((role) => ({ ...route, role })))
test.each(ownCells)(
  "$name lets $role change what is their own, and nobody else's",
  async (cell) => {
    const { name, method, path, role } = cell
    const somebody = `${role}-${randomBytes(4).toString('hex')}`
    const { user } = await acme.person(somebody, role)
    const cookie = await signIn(acme, somebody)
    const own = await belongings[path]?.(acme, somebody, user.id)
    const factor = await belongings['/api/v1/self/passkeys/:id']?.(acme, somebody, user.id)
    expect(factor).toBeDefined()
    const id = own ?? ''
    expect(path.includes(':'), 'make a thing of this kind in `belongings`').toBe(own !== undefined)
    const purpose = stepUps.get(name)
    if (purpose !== undefined) {
      const refused = await ask(method, path.replace(':id', id), cookie, lacking(method))
      // Its input is wrong where it has any, and input comes first.
      expect(refused.statusCode === 428 ? refused.json().error.purpose : purpose).toBe(purpose)
      expect([400, 428]).toContain(refused.statusCode)
      await prove(user.id)
    }
    if (own === undefined) {
      // The right is there: what comes next is the input.
      expect([200, 400]).toContain((await ask(method, path, cookie, lacking(method))).statusCode)
      return
    }
    const missing = await refusal(method, path.replace(':id', unknown), cookie)
    expect(missing.statusCode).toBe(404)
    const colleagues = await belongings[path]?.(acme, 'colleague', others.identity.user.id)
    const foreigners = await belongings[path]?.(globex, 'foreign', foreign.identity.user.id)
    for (const other of [colleagues, foreigners]) {
      expect(await refusal(method, path.replace(':id', other ?? ''), cookie)).toEqual(missing)
    }
    const change = async () =>
      (await ask(method, path.replace(':id', own), cookie, lacking(method))).statusCode
    expect(await change()).toBe(method === 'DELETE' ? 204 : 200)
    expect(await change()).toBe(method === 'DELETE' ? 404 : 200)
  },
)

/** Input without any field. */
function lacking(method: string): object | undefined {
  return method === 'DELETE' ? undefined : {}
}

test.each(asked)('$name is nothing for a stranger', async ({ method, path }) => {
  for (const cookie of ['', 'vaultterm=none', `vaultterm=${acme.tenant}.${'A'.repeat(43)}`]) {
    const { statusCode, body } = await ask(method, path.replace(':id', others.session), cookie)
    expect(statusCode).toBe(401)
    expect(body).not.toContain('web1')
  }
})

test("attack: the role at sign-in opens nothing once the role is another's", async () => {
  const { session, cookie: first, identity } = await addPerson(acme, 'was-admin', 'admin')
  let cookie = first
  /** As a browser does it: each new role comes with a new cookie. */
  const get = async (path: string, shown = cookie) => {
    const answer = await fixture.ask('GET', path, shown)
    cookie = String(answer.headers['set-cookie'] ?? shown).split(';')[0] ?? ''
    return answer
  }
  const recording = (id: string) => `/api/v1/sessions/${id}/recording.cast`
  expect((await get(recording(others.session))).statusCode).toBe(200)
  await database.superuser("update app_user set role = 'member' where id = $1", [identity.user.id])
  expect((await get(recording(others.session))).statusCode).toBe(404)
  expect(cookie).not.toBe(first)
  expect((await fixture.ask('GET', '/api/v1/sessions', first)).statusCode).toBe(401)
  expect((await get('/api/v1/sessions')).body).not.toContain(others.session)
  expect((await get(recording(session))).statusCode).toBe(200)
  await database.superuser("update app_user set role = 'auditor' where id = $1", [identity.user.id])
  expect((await get(recording(others.session))).statusCode).toBe(200)
})

test('attack: a caller that keeps an old role, or claims one, gets what the database says', async () => {
  const { identity } = others
  const claimed: WebIdentity = {
    ...identity,
    user: { ...identity.user, role: 'owner' },
    session: 'any',
  }
  const mine = (await access.sessionsFor(claimed)).map(({ id }) => id)
  expect(mine).toEqual([others.session])
  const admins = people.get('admin')?.session ?? ''
  expect(await access.sessionFor(claimed, 'recording.read', admins)).toBeUndefined()
  // The control.
  expect(await access.sessionFor(claimed, 'recording.read', others.session)).toBeDefined()
})

test('a removed user is signed out, and a new one of the same name has none of the sessions', async () => {
  const before = await addPerson(acme, 'again', 'member')
  await auth.removeUser(acme.tenant, 'again', actor)
  expect((await get('/api/v1/sessions', before.cookie)).statusCode).toBe(401)
  expect(await access.sessionsFor({ ...before.identity, session: 'any' })).toEqual([])
  const after = await addPerson(acme, 'again', 'member')
  const { body } = await get('/api/v1/sessions', after.cookie)
  expect(body).toContain(after.session)
  expect(body).not.toContain(before.session)
  expect((await get(`/sessions/${before.session}`, after.cookie)).statusCode).toBe(404)
})

test('a refused replay is not on the log as one, and a given one is', async () => {
  const reader = await addPerson(acme, 'reader', 'member')
  const opened = async () =>
    (await acme.events()).filter(
      ({ type, public: at }) => type === 'recording.open' && at.actor === reader.identity.user.id,
    )
  await get(`/api/v1/sessions/${others.session}/recording.cast`, reader.cookie)
  expect(await opened()).toHaveLength(0)
  await get(`/api/v1/sessions/${reader.session}/recording.cast`, reader.cookie)
  expect(await opened()).toHaveLength(1)
})

test('attack: a reader who opens a recording over and over is refused before the log, a colleague is not', async () => {
  const hasty = await addPerson(acme, 'hasty', 'member')
  const opened = async () =>
    (await acme.events()).filter(
      ({ type, public: at }) => type === 'recording.open' && at.actor === hasty.identity.user.id,
    ).length
  const path = `/api/v1/sessions/${hasty.session}/recording.cast`
  const answers: { statusCode: number; body: string }[] = []
  const refusals = () => answers.filter(({ statusCode }) => statusCode === 429)
  // One a second is given back meanwhile: how many it takes is up to the machine.
  while (refusals().length < 6) {
    answers.push(...(await Promise.all([1, 2, 3, 4].map(() => get(path, hasty.cookie)))))
    expect(answers.length).toBeLessThan(1000)
  }
  const refused = refusals()
  expect(JSON.parse(refused[0]?.body ?? '').error.code).toBe('ERR_TOO_MANY_REPLAYS')
  expect(await opened()).toBe(answers.length - refused.length)
  const auditor = people.get('auditor')
  expect((await get(path, auditor?.cookie ?? '')).statusCode).toBe(200)
})

test('attack: downloads that are not read do not pile up, and the next one may begin when one is over', async () => {
  const slow = await addPerson(acme, 'slow', 'member', 'much\r\n'.repeat(200_000))
  const path = `/api/v1/sessions/${slow.session}/recording.cast`
  const begin = () =>
    portal.inject({
      method: 'GET',
      url: path,
      headers: { host, cookie: slow.cookie },
      payloadAsStream: true,
    })
  const held = []
  for (let count = 0; count < 8; count++) held.push(await begin())
  expect(held.map(({ statusCode }) => statusCode)).toEqual(held.map(() => 200))
  const refused = await get(path, slow.cookie)
  expect([refused.statusCode, refused.json().error.code]).toEqual([429, 'ERR_TOO_MANY_DOWNLOADS'])
  held[0]?.stream().resume()
  await expect.poll(async () => (await get(path, slow.cookie)).statusCode).toBe(200)
  for (const one of held) one.stream().resume()
})

test('attack: a recording that is read slowly is cut off when its reader is removed or signs out, or the tenant is suspended', async () => {
  const closed = await fixture.place()
  await closed.target('web1')
  const much = 'much\r\n'.repeat(200_000)
  const add = (place: Place, name: string) => addPerson(place, name, 'member', much)
  const [stays, removed, leaves, shut] = [
    await add(acme, 'stays'),
    await add(acme, 'removed'),
    await add(acme, 'leaves'),
    await add(closed, 'shut'),
  ]
  const begin = async ({ session, cookie }: typeof stays) => {
    const url = `/api/v1/sessions/${session}/recording.cast`
    const headers = { host, cookie }
    const answer = await portal.inject({ method: 'GET', url, headers, payloadAsStream: true })
    expect(answer.statusCode).toBe(200)
    return answer.stream().on('error', () => {})
  }
  const kept = await begin(stays)
  const cut = [await begin(removed), await begin(leaves), await begin(shut)]
  await auth.removeUser(acme.tenant, 'removed', actor)
  await auth.web.end(leaves.cookie.replace('vaultterm=', ''))
  const vault = { createSshKeys: () => Promise.reject(new Error('not asked')) }
  const tenants = createTenants({ database: database.app, vault, log: silent })
  await tenants.suspend(closed.slug, actor)
  await expect
    .poll(() => cut.map(({ destroyed }) => destroyed), { timeout: 15_000 })
    .toEqual([true, true, true])
  let bytes = 0
  for await (const chunk of kept) bytes += chunk.length
  expect(bytes).toBeGreaterThan(much.length)
}, 30_000)
