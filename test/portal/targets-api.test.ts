import { beforeAll, expect, test } from 'vitest'
import { actor, open } from '../access/access-fixture.ts'
import { openPortalFixture } from './portal-fixture.ts'

/** The list of targets that somebody may open, and who they are, as a program asks for it. */
const fixture = await openPortalFixture()
const { access, auth } = fixture

const acme = await fixture.place()
const globex = await fixture.place()
const cookies = new Map<string, string>()

beforeAll(async () => {
  for (const target of ['db1', 'web1', 'web2', 'web3']) await acme.target(target)
  await globex.target('secret-of-globex')
  const ada = await acme.person('ada')
  await acme.person('bob', 'auditor')
  for (const target of ['db1', 'web1', 'web3']) {
    await access.addGrant(acme.tenant, { user: 'ada', target }, actor)
  }
  await open(access, ada, 'web3')
  for (const name of ['ada', 'bob']) cookies.set(name, await fixture.signIn(acme, name))
})

async function ask(name: string, path: string) {
  const { statusCode, body } = await fixture.ask('GET', path, cookies.get(name))
  return { statusCode, body: JSON.parse(body) }
}

const namesOf = ({ body }: { body: { items: { name: string }[] } }) =>
  body.items.map(({ name }) => name)

test('the targets that grants open, the last used first', async () => {
  const { statusCode, body } = await ask('ada', '/api/v1/targets')
  expect(statusCode).toBe(200)
  expect(body).toEqual({
    items: [
      { name: 'web3', lastAt: expect.any(String) },
      { name: 'db1', lastAt: null },
      { name: 'web1', lastAt: null },
    ],
    next: null,
    total: 3,
  })
})

test('nobody sees a target that no grant opens to them', async () => {
  expect(await ask('bob', '/api/v1/targets')).toMatchObject({ body: { items: [], total: 0 } })
})

test('a search finds parts of names, in any capitals, page by page', async () => {
  const first = await ask('ada', '/api/v1/targets?search=WEB&limit=1')
  expect([namesOf(first), first.body.total]).toEqual([['web1'], 2])
  const second = await ask('ada', `/api/v1/targets?search=WEB&limit=1&cursor=${first.body.next}`)
  expect([namesOf(second), second.body.next]).toEqual([['web3'], null])
  expect(namesOf(await ask('ada', '/api/v1/targets?search=b1'))).toEqual(['db1', 'web1'])
  expect(namesOf(await ask('ada', '/api/v1/targets?search=secret'))).toEqual([])
  expect(namesOf(await ask('ada', '/api/v1/targets?search=%25'))).toEqual([])
})

test('self says who asks, with the role of this moment', async () => {
  expect((await ask('bob', '/api/v1/self')).body).toMatchObject({
    tenant: acme.slug,
    user: 'bob',
    role: 'auditor',
    rights: { 'session.read': 'all', 'session.end': 'own' },
  })
  expect((await ask('ada', '/api/v1/self')).body).toMatchObject({
    role: 'member',
    rights: { 'session.read': 'own', 'session.end': 'own' },
  })
})

test('attack: a removed user lists nothing with the cookie that they had', async () => {
  await acme.person('gone')
  await access.addGrant(acme.tenant, { user: 'gone', target: 'db1' }, actor)
  cookies.set('gone', await fixture.signIn(acme, 'gone'))
  expect(namesOf(await ask('gone', '/api/v1/targets'))).toEqual(['db1'])
  await auth.removeUser(acme.tenant, 'gone', actor)
  expect((await ask('gone', '/api/v1/targets')).statusCode).toBe(401)
})

test.each([
  '/api/v1/targets?search=%00',
  // Of one U+0000, and of one behind a name.
  '/api/v1/targets?cursor=AA',
  '/api/v1/targets?cursor=d2ViMQA',
  '/api/v1/sessions?user=%00',
  '/api/v1/sessions?target=web1%00',
])('attack: text that no column holds (%s) is refused, and no failure of ours', async (path) => {
  expect(await ask('ada', path)).toMatchObject({
    statusCode: 400,
    body: { error: { code: 'ERR_REQUEST_INVALID' } },
  })
})
