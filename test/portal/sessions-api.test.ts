import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createMetrics } from '../../src/metrics.ts'
import { createPortal } from '../../src/portal/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'
import { actor, open, openAccessFixture } from '../access/access-fixture.ts'
import { silent } from '../support/postgres.ts'
import { testRecorder } from '../support/recording.ts'

/** The list of sessions, as a program asks for it. */
const fixture = await openAccessFixture()
const { access, auth, audit } = fixture
const recordings = await testRecorder()
const host = 'portal.test'
const portal = await createPortal({
  auth,
  access,
  recorder: recordings.recorder,
  audit,
  metrics: new Registry(),
  page: createMetrics(),
  log: silent,
  publicUrl: `http://${host}`,
  checks: {},
})
afterAll(async () => {
  await portal.close()
  await recordings[Symbol.asyncDispose]()
})

const acme = await fixture.place()
let cookie = ''
/** Newest first. */
const sessions: SessionId[] = []

beforeAll(async () => {
  for (const target of ['web1', 'db1']) await acme.target(target)
  await acme.person('boss', 'owner')
  const people = { ada: await acme.person('ada'), bob: await acme.person('bob') }
  for (const user of ['ada', 'bob']) {
    for (const target of ['web1', 'db1']) {
      await access.addGrant(acme.tenant, { user, target }, actor)
    }
  }
  for (const [user, target] of [
    ['ada', 'web1'],
    ['ada', 'db1'],
    ['bob', 'web1'],
    ['bob', 'db1'],
    ['bob', 'web1'],
  ] as const) {
    sessions.unshift(await open(access, people[user], target))
  }
  const [newest] = sessions
  if (newest === undefined) throw new Error('no session')
  const outcome = { tenant: acme.tenant, bytes: 1, reason: 'ended' }
  await access.endSession(newest, outcome)
  const { token } = await auth.createLoginLink(acme.tenant, 'boss', actor)
  cookie = `vaultterm=${await auth.web.redeem(token)}`
})

async function list(query: string) {
  const { statusCode, body } = await portal.inject({
    method: 'GET',
    url: `/api/v1/sessions${query}`,
    headers: { host, cookie },
  })
  return { statusCode, body: JSON.parse(body) }
}

const idsOf = ({ body }: { body: { items: { id: string }[] } }) => body.items.map(({ id }) => id)

test('pages of two sessions are the whole list, newest first', async () => {
  const seen: string[] = []
  let next: string | null = ''
  while (next !== null) {
    const answer = await list(`?limit=2${next === '' ? '' : `&cursor=${next}`}`)
    seen.push(...idsOf(answer))
    next = answer.body.next
  }
  expect(seen).toEqual(sessions)
})

test.each([
  ['live=true', [1, 2, 3, 4]],
  ['live=false', [0]],
  ['user=ada', [3, 4]],
  ['target=db1', [1, 3]],
  ['user=bob&target=web1', [0, 2]],
  ['kind=shell', [0, 1, 2, 3, 4]],
  ['kind=sftp', []],
  ['user=nobody', []],
  ["user=' or true --", []],
] as const)('a filter keeps what it names: %s', async (query, expected) => {
  const answer = await list(`?${query}`)
  expect(idsOf(answer)).toEqual(expected.map((index) => sessions[index]))
  expect(answer.body.next).toBeNull()
})

test('a filter holds on the next page too', async () => {
  const first = await list('?user=bob&limit=2')
  const second = await list(`?user=bob&limit=2&cursor=${first.body.next}`)
  expect([...idsOf(first), ...idsOf(second)]).toEqual(sessions.slice(0, 3))
})

test.each(['kind=ftp', 'live=maybe', 'user=', 'cursor=AAAA', 'tenant=globex', 'user=a&user=b'])(
  'a wrong filter is refused, not left out: %s',
  async (query) => {
    const { statusCode, body } = await list(`?${query}`)
    expect([statusCode, body.error.code]).toEqual([400, 'ERR_REQUEST_INVALID'])
    expect(body.error.message).toMatch(/^query\.\w+ /)
  },
)
