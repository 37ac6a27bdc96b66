import { describe, expect, test } from 'vitest'
import { actor, openAccessFixture } from './access-fixture.ts'

const fixture = await openAccessFixture()
const { access } = fixture
const place = await fixture.place()
const { tenant, slug } = place
const demo = await place.person('demo')
const nobody = await place.person('nobody')
await place.target('web1', { port: 2200 })
await place.target('db1', { host: 'DB.example.org' })
await place.target('v6', { host: '2001:db8::7' })
await place.target('hidden', { host: '203.0.113.9' })
// The same address twice: who may open one of them gets that one.
await place.target('a-hidden', { host: 'shared.example' })
await place.target('z-shared', { host: 'shared.example' })
for (const target of ['web1', 'db1', 'v6', 'z-shared']) {
  await access.addGrant(tenant, { user: 'demo', target }, actor)
}
await access.addGrant(tenant, { user: 'demo', target: 'hidden', until: '2020-01-01' }, actor)

const direct = { isJump: false }
const jump = (host: string, port = 22, who = demo) =>
  access.authorizeJump(who, { host, port }, direct)
async function nameAt(host: string, port?: number, who = demo) {
  const answer = await jump(host, port, who)
  if (answer !== undefined && 'denied' in answer) throw new Error(answer.message)
  return answer?.target.name
}

describe('an address of a jump is the target', () => {
  test.each([
    ['web1', 22, 'web1'],
    ['web1', 2200, 'web1'],
    [`WEB1.${slug}`, 22, 'web1'],
    [`web1.${slug}.`, 22, 'web1'],
    ['192.0.2.7', 2200, 'web1'],
    ['db.example.org', 22, 'db1'],
    ['2001:DB8::7', 22, 'v6'],
    ['shared.example', 22, 'z-shared'],
  ])('%s port %i', async (host, port, name) => {
    expect(await nameAt(host, port)).toBe(name)
  })
})

describe('an address of a jump is no target', () => {
  test.each([
    ['web1', 5432],
    ['web1.other', 22],
    ['web', 22],
    ['web_', 22],
    ['%', 22],
    ['192.0.2.7', 22],
    ['192.0.2.7', 5432],
    ['', 22],
    [`.${slug}`, 22],
    ['127.0.0.1', 22],
    // There, and not to be known of.
    ['hidden', 22],
    ['203.0.113.9', 22],
    ['a-hidden', 22],
  ])('%j port %i', async (host, port) => {
    expect(await nameAt(host, port)).toBeUndefined()
  })
})

test('a user without a grant learns of no target by asking for a jump', async () => {
  const before = (await place.events()).length
  for (const host of ['web1', '192.0.2.7', 'nothing']) {
    expect(await nameAt(host, 22, nobody)).toBeUndefined()
  }
  expect(await place.events()).toHaveLength(before)
})

test('the exact name comes before the name with the tenant behind it', async () => {
  // A host name may look like the long form of another target's name.
  expect(await nameAt(`web1.${slug}`)).toBe('web1')
  await place.target('long', { host: `v6.${slug}` })
  await access.addGrant(tenant, { user: 'demo', target: 'long' }, actor)
  expect(await nameAt(`v6.${slug}`)).toBe('v6')
})

test.each([
  ['from inside a jump', { isJump: true }, 'web1', 'ERR_JUMP_CHAINED'],
  [
    'from a connection for another target',
    { ...direct, target: 'db1' },
    'web1',
    'ERR_JUMP_CHAINED',
  ],
  ['from inside a jump, to no target', { isJump: true }, 'nothing', undefined],
])('refuses a jump %s', async (_how, outer, host, code) => {
  const answer = await access.authorizeJump(demo, { host, port: 22 }, outer)
  expect(answer && 'denied' in answer ? answer.code : answer).toBe(code)
  if (code === undefined) return
  expect((await place.events()).at(-1)).toMatchObject({
    type: 'session.refused',
    public: { denied: 'chained', kind: 'jump' },
  })
})

test('refuses a jump that no grant allows, on record', async () => {
  await place.target('exec-only')
  await access.addGrant(tenant, { user: 'demo', target: 'exec-only', allow: ['exec'] }, actor)
  const answer = await jump('exec-only')
  expect(answer).toMatchObject({ code: 'ERR_KIND_NOT_GRANTED' })
  expect((await place.events()).at(-1)).toMatchObject({ public: { denied: 'no-kind' } })
})

test('attack: jumps without end use up no authorization of others', async () => {
  for (let at = 0; at < 1100; at += 50) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => nameAt('web1')))
    expect(new Set(answers)).toEqual(new Set(['web1']))
  }
  const answer = await access.authorize(demo, { target: 'web1', kind: 'shell' })
  expect('denied' in answer).toBe(false)
})
