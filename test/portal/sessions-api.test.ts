import { beforeAll, describe, expect, test } from 'vitest'
import type { SessionId } from '../../src/recorder/index.ts'
import { actor, open } from '../access/access-fixture.ts'
import { openPortalFixture } from './portal-fixture.ts'

/** The list of sessions, as a program asks for it. */
const fixture = await openPortalFixture()
const { access, portal, host } = fixture

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
  cookie = await fixture.signIn(acme, 'boss')
})

async function list(query: string) {
  const { statusCode, body } = await fixture.ask('GET', `/api/v1/sessions${query}`, cookie)
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

describe('ending a session', () => {
  const end = async (id: string, body: unknown, headers: Record<string, string> = {}) => {
    const answer = await portal.inject({
      method: 'POST',
      url: `/api/v1/sessions/${id}/end`,
      headers: { host, cookie, 'content-type': 'application/json', ...headers },
      payload: typeof body === 'string' ? body : JSON.stringify(body),
    })
    return { statusCode: answer.statusCode, body: JSON.parse(answer.body) }
  }
  const killOf = async (id: string) =>
    (await acme.events()).filter(
      ({ type, public: fields }) => type === 'session.kill' && fields.session === id,
    )

  test('marks it with the reason, and the log names the person', async () => {
    const id = sessions[1] ?? ''
    expect(await end(id, { reason: 'maintenance at noon' })).toEqual({
      statusCode: 202,
      body: { id },
    })
    const rows = await fixture.database.superuser(
      'select kill_reason as reason from session where id = $1',
      [id],
    )
    expect(rows).toEqual([{ reason: 'boss ended this session: maintenance at noon' }])
    const [event, ...more] = await killOf(id)
    expect(event?.public).toMatchObject({ actorKind: 'user' })
    expect(event?.private).toMatchObject({ targetName: 'db1', userName: 'bob' })
    expect(more).toEqual([])
  })

  test('of one that has ended is a conflict, and no event', async () => {
    const answer = await end(sessions[0] ?? '', {})
    expect([answer.statusCode, answer.body.error.code]).toEqual([409, 'ERR_SESSION_NOT_LIVE'])
    expect(await killOf(sessions[0] ?? '')).toEqual([])
  })

  test.each([
    [{ reason: '' }, {}, 400, 'body.reason has fewer than 1 characters'],
    [{ reason: 'x'.repeat(201) }, {}, 400, 'body.reason has more than 200 characters'],
    [{ reason: '\u001b[2J' }, {}, 400, 'body.reason has the wrong form'],
    [{ reason: 1 }, {}, 400, 'body.reason has the wrong form'],
    [{ why: 'x' }, {}, 400, 'body.why is not a field of this request'],
    [['x'], {}, 400, 'body has the wrong form'],
    ['{"reason":', {}, 400, 'body is not JSON'],
    [
      'reason=x',
      { 'content-type': 'application/x-www-form-urlencoded' },
      400,
      'the body must be JSON',
    ],
    [{}, { 'content-type': 'text/plain' }, 415, 'content type'],
    [{}, { 'sec-fetch-site': 'cross-site' }, 403, 'must come from our own pages'],
    [{}, { origin: 'http://evil.test' }, 403, 'must come from our own pages'],
  ])('of a request with %j and %j does nothing', async (body, headers, status, message) => {
    const id = sessions[2] ?? ''
    const answer = await end(id, body, headers)
    expect([answer.statusCode, answer.body.error.message]).toEqual([
      status,
      expect.stringContaining(message),
    ])
    expect(await killOf(id)).toEqual([])
  })
})

test('attack: a list holds the beginning of long commands, and one session the whole', async () => {
  const huge = Buffer.from(`${'x'.repeat(1022)}ä${'y'.repeat(200_000)}`)
  await fixture.database.pastTriggers('update session set command = $1 where tenant_id = $2', [
    huge,
    acme.tenant,
  ])
  const { body } = await list('')
  for (const session of body.items) {
    expect(session).toMatchObject({ command: `${'x'.repeat(1022)}ä…`, commandBytes: huge.length })
    expect(session).not.toHaveProperty('commandSha256')
  }
  expect(JSON.stringify(body).length).toBeLessThan(20_000)
  const one = await fixture.ask('GET', `/api/v1/sessions/${sessions[0]}`, cookie)
  const whole = JSON.parse(one.body)
  expect(whole.command).toBe(huge.toString())
  expect(whole.commandSha256).toMatch(/^[0-9a-f]{64}$/)
})
