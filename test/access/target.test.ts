import { expect, test } from 'vitest'
import type { NewGrant, NewTarget } from '../../src/access/index.ts'
import { fingerprint } from '../../src/ssh/index.ts'
import { actor, newKey, newTarget, openAccessFixture } from './access-fixture.ts'

const { access, auth, place } = await openAccessFixture()

test('registers a target with its host keys, and takes it out with its grants', async () => {
  const { tenant, person, events } = await place()
  await person('demo')
  const wish = { ...newTarget('web1'), host: 'web1.internal.example', port: 2222 }
  const added = await access.addTarget(tenant, wish, actor)
  expect(added).toMatchObject({ ...wish, auth: 'key' })
  expect(await access.findTarget(tenant, 'web1')).toEqual(added)
  expect(await access.listTargets(tenant)).toEqual([added])
  await access.addGrant(tenant, { user: 'demo', target: 'web1' }, actor)
  await access.addGrant(tenant, { role: 'admin', target: '*' }, actor)
  expect(await access.removeTarget(tenant, 'web1', actor)).toEqual(added)
  expect(await access.findTarget(tenant, 'web1')).toBeUndefined()
  expect((await access.listGrants(tenant)).map(({ target }) => target)).toEqual(['*'])
  const logged = (await events()).filter(({ type }) => type.startsWith('target.'))
  const hostKey = wish.hostKeys.map(({ blob }) => fingerprint(blob))
  expect(logged).toMatchObject([
    {
      type: 'target.add',
      public: { target: added.id, hostKey, auth: 'key', actor: 'cli', actorKind: 'operator' },
      private: { name: 'web1', host: 'web1.internal.example', port: '2222', actorName: 'ops' },
    },
    { type: 'target.remove', public: { target: added.id } },
  ])
})

test('keeps the order of logins, of which the first is the default', async () => {
  const { tenant } = await place()
  const wish = { ...newTarget('web1'), logins: ['zoe', 'root', 'zoe', 'adm'] }
  expect((await access.addTarget(tenant, wish, actor)).logins).toEqual(['zoe', 'root', 'adm'])
})

test.each<[string, Partial<NewTarget>]>([
  ['with a name for a user name', { name: 'Web_1' }],
  ['with an option for a host', { host: '-oProxyCommand=id' }],
  ['with a host that holds a space', { host: 'web1 web2' }],
  ['with an empty host', { host: '' }],
  ['on port 0', { port: 0 }],
  ['on half a port', { port: 22.5 }],
  ['without a login', { logins: [] }],
  ['with a login of two lines', { logins: ['root\nroot'] }],
  ['without a host key', { hostKeys: [] }],
  ['with a host key that is none', { hostKeys: [{ type: 'ssh-ed25519', blob: Buffer.from('x') }] }],
])('does not register a target %s', async (_what, wrong) => {
  const { tenant } = await place()
  await expect(
    access.addTarget(tenant, { ...newTarget('web1'), ...wrong }, actor),
  ).rejects.toMatchObject({ code: 'ERR_TARGET_INVALID', kind: 'invalid' })
  expect(await access.listTargets(tenant)).toEqual([])
})

test.each(['203.0.113.9', '2001:db8::7', 'web1', 'db.internal.example', 'xn--bcher-kva.example'])(
  'registers a target at %s',
  async (host) => {
    const { tenant } = await place()
    expect(await access.addTarget(tenant, { ...newTarget('web1'), host }, actor)).toMatchObject({
      host,
    })
  },
)

test('keeps the type that the key itself says', async () => {
  const { tenant } = await place()
  const hostKeys = [{ type: 'ssh-rsa', blob: newKey() }]
  const added = await access.addTarget(tenant, { ...newTarget('web1'), hostKeys }, actor)
  expect(added.hostKeys).toMatchObject([{ type: 'ssh-ed25519' }])
})

test('has one target of a name in a tenant, and says so', async () => {
  const { tenant } = await place()
  await access.addTarget(tenant, newTarget('web1'), actor)
  const again = access.addTarget(tenant, newTarget('web1'), actor)
  await expect(again).rejects.toMatchObject({ code: 'ERR_TARGET_EXISTS' })
  await expect(access.removeTarget(tenant, 'web2', actor)).rejects.toMatchObject({
    code: 'ERR_TARGET_MISSING',
  })
})

test('gives a grant, shows it by names, and takes it back', async () => {
  const { tenant, person, target, events } = await place()
  const { user } = await person('demo')
  await target('web1')
  const wish: NewGrant = {
    user: 'demo',
    target: 'web1',
    logins: ['deploy'],
    allow: ['exec', 'forward'],
    until: '2099-12-31T18:00:00+01:00',
  }
  const grant = await access.addGrant(tenant, wish, actor)
  expect(grant).toMatchObject({ ...wish, role: undefined, until: '2099-12-31T17:00:00.000Z' })
  expect(await access.listGrants(tenant)).toEqual([grant])
  expect(await access.removeGrant(tenant, grant.id, actor)).toEqual(grant)
  await expect(access.removeGrant(tenant, grant.id, actor)).rejects.toMatchObject({
    code: 'ERR_GRANT_MISSING',
  })
  expect((await events()).filter(({ type }) => type.startsWith('grant.'))).toMatchObject([
    {
      type: 'grant.add',
      public: { grant: grant.id, user: user.id, allow: ['exec', 'forward'] },
      private: { userName: 'demo', targetName: 'web1', logins: ['deploy'] },
    },
    { type: 'grant.remove', public: { grant: grant.id } },
  ])
})

test('takes a user’s grants along when the user goes', async () => {
  const { tenant, person, target } = await place()
  await person('demo')
  await target('web1')
  await access.addGrant(tenant, { user: 'demo', target: '*' }, actor)
  await auth.removeUser(tenant, 'demo', actor)
  expect(await access.listGrants(tenant)).toEqual([])
})

test.each<[string, NewGrant, string]>([
  [
    'to a user and a role at once',
    { user: 'demo', role: 'admin', target: '*' },
    'ERR_GRANT_INVALID',
  ],
  ['to nobody', { target: '*' }, 'ERR_GRANT_INVALID'],
  ['to a user who is not there', { user: 'nobody', target: '*' }, 'ERR_USER_MISSING'],
  ['for a target that is not there', { user: 'demo', target: 'web9' }, 'ERR_TARGET_MISSING'],
  ['that allows nothing', { user: 'demo', target: '*', allow: [] }, 'ERR_GRANT_INVALID'],
  [
    'for a login that the target has not',
    { user: 'demo', target: 'web1', logins: ['oracle'] },
    'ERR_GRANT_INVALID',
  ],
  ['until no time at all', { user: 'demo', target: '*', until: 'soon' }, 'ERR_GRANT_INVALID'],
  [
    'until a year of five digits',
    { user: 'demo', target: '*', until: '+010000-01-01' },
    'ERR_GRANT_INVALID',
  ],
])('gives no grant %s', async (_what, wish, code) => {
  const { tenant, person, target } = await place()
  await person('demo')
  await target('web1')
  await expect(access.addGrant(tenant, wish, actor)).rejects.toMatchObject({ code })
  expect(await access.listGrants(tenant)).toEqual([])
})
