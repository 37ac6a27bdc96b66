import { expect, test } from 'vitest'
import { tagOldTargets } from '../../src/access/index.ts'
import type { Identity } from '../../src/auth/index.ts'
import { actor, open, openAccessFixture } from './access-fixture.ts'

const fixture = await openAccessFixture()
const { access, auth, database } = fixture

const countTargets = 1500
const nameOf = (at: number) => `host-${String(at).padStart(4, '0')}`

/** A tenant with more targets than anybody reads at once, made in one statement. */
async function openLarge() {
  const place = await fixture.place()
  const demo = await place.person('demo')
  await database.app.write(place.tenant, async (tx) => {
    await tx.run(
      `insert into target (name, host, port, logins)
         select 'host-' || lpad(n::text, 4, '0'), 'h' || n || '.example', 22, '{root}'
           from generate_series(0, $1::integer - 1) n`,
      [countTargets],
    )
    await tx.run(
      `insert into target_host_key (target_id, type, blob)
         select id, 'ssh-ed25519', decode('00', 'hex') from target`,
    )
  })
  await fixture.vault.tagging(place.tenant, (tag) =>
    database.app.write(place.tenant, (tx) => tagOldTargets(tx, tag)),
  )
  return { ...place, demo }
}

/** Page after page, as a menu that goes to the end. */
async function all(identity: Identity, search = '', limit = 200) {
  const names: string[] = []
  let pages = 0
  for (let after: string | undefined = ''; after !== undefined; pages++) {
    const page = await access.listChoices(identity, { search, after, limit })
    if (pages === 0) expect(page.total).toBeDefined()
    names.push(...page.choices.map(({ name }) => name))
    after = page.next
  }
  return { names, pages }
}

const every = Array.from({ length: countTargets }, (_, at) => nameOf(at))

test('pages over every target of a large tenant, each once, with one grant for all', async () => {
  const { tenant, demo } = await openLarge()
  await access.addGrant(tenant, { role: 'member', target: '*' }, actor)
  expect(await all(demo)).toEqual({ names: every, pages: 8 })
  expect(await all(demo, 'host-149')).toEqual({ names: every.slice(1490), pages: 1 })
  const { total } = await access.listChoices(demo, { search: '99', limit: 5 })
  expect(total).toBe(every.filter((name) => name.includes('99')).length)
})

test('pages over every target of a large tenant with a grant for each', async () => {
  const { tenant, demo } = await openLarge()
  await database.app.write(tenant, (tx) =>
    tx.run(
      `insert into access_grant (user_id, target_id, allow)
         select $1, id, '{shell}' from target`,
      [demo.user.id],
    ),
  )
  expect(await all(demo)).toEqual({ names: every, pages: 8 })
  for (const name of [nameOf(0), nameOf(999), nameOf(1000), nameOf(1499)]) {
    const answer = await access.authorize(demo, { target: name, kind: 'shell' })
    expect('denied' in answer ? answer.message : answer.target.name).toBe(name)
  }
})

test('shows what is reachable and nothing else, over pages and in a search', async () => {
  const { tenant, demo } = await openLarge()
  for (const at of [3, 700, 1234]) {
    await access.addGrant(tenant, { user: 'demo', target: nameOf(at) }, actor)
  }
  const ended = '2020-01-01T00:00:00Z'
  await access.addGrant(tenant, { user: 'demo', target: nameOf(4), until: ended }, actor)
  await access.addGrant(tenant, { role: 'owner', target: '*' }, actor)
  const mine = [nameOf(3), nameOf(700), nameOf(1234)]
  expect(await all(demo, '', 1)).toEqual({ names: mine, pages: 3 })
  expect((await all(demo, '00')).names).toEqual([nameOf(3), nameOf(700)])
  expect((await all(demo, '%')).names).toEqual([])
  expect((await all(demo, '_')).names).toEqual([])
})

test('a name that starts with the text stands before those that only contain it', async () => {
  const place = await fixture.place()
  const demo = await place.person('demo')
  await access.addGrant(place.tenant, { user: 'demo', target: '*' }, actor)
  for (const name of ['a-web', 'web2', 'web', 'zweb', 'db']) await place.target(name)
  const names = ['web', 'web2', 'a-web', 'zweb']
  for (const limit of [1, 2, 100]) expect((await all(demo, 'web', limit)).names).toEqual(names)
})

test('shows first where the user was last, once, and only what is still reachable', async () => {
  const { tenant, demo } = await openLarge()
  const grants = []
  for (const at of [10, 1300]) {
    grants.push(await access.addGrant(tenant, { user: 'demo', target: nameOf(at) }, actor))
    await open(access, demo, nameOf(at))
  }
  await access.addGrant(tenant, { user: 'demo', target: nameOf(0) }, actor)
  const { choices } = await access.listChoices(demo, { limit: 200 })
  expect(choices).toEqual([
    { name: nameOf(1300), lastAt: expect.any(String) },
    { name: nameOf(10), lastAt: expect.any(String) },
    { name: nameOf(0) },
  ])
  await access.removeGrant(tenant, grants[1]?.id ?? '', actor)
  const after = await access.listChoices(demo, { limit: 200 })
  expect(after.choices.map(({ name }) => name)).toEqual([nameOf(10), nameOf(0)])
})

test.each(['a removed key', 'a removed user', 'a suspended tenant'])(
  'shows nothing to %s',
  async (what) => {
    const place = await fixture.place()
    const demo = await place.person('demo')
    await place.target('web1')
    await access.addGrant(place.tenant, { role: 'member', target: '*' }, actor)
    expect((await all(demo)).names).toEqual(['web1'])
    if (what === 'a removed key') {
      await auth.removeKey(place.tenant, demo.keyFingerprint, actor)
    } else if (what === 'a removed user') await auth.removeUser(place.tenant, 'demo', actor)
    else {
      const suspend = 'update tenant set suspended_at = now()'
      await database.app.write(place.tenant, (tx) => tx.run(suspend))
    }
    expect(await access.listChoices(demo, { limit: 10 })).toEqual({
      choices: [],
      next: undefined,
      total: 0,
    })
  },
)

test('a refusal names some of many targets, and says that there are others', async () => {
  const { tenant, slug, demo } = await openLarge()
  await access.addGrant(tenant, { role: 'member', target: '*' }, actor)
  const denial = await access.authorize(demo, { kind: 'exec' })
  if (!('denied' in denial)) throw new Error('there are several')
  expect(denial.code).toBe('ERR_TARGET_CHOICE')
  expect(denial.targets).toHaveLength(20)
  expect(denial.message).toMatch(
    new RegExp(`connect as ${slug}\\+<target>.*, host-0019 and others$`),
  )
  const missing = await access.authorize(demo, { target: 'web9', kind: 'exec' })
  expect('denied' in missing && missing.message).toMatch(/host-0019 and others/)
})
