import { expect, test } from 'vitest'
import type { AccessAttempt } from '../../src/access/index.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import { actor, allowed, denied, openAccessFixture, shell } from './access-fixture.ts'

const fixture = await openAccessFixture()
const { access, auth, database } = fixture

async function openPlace() {
  const place = await fixture.place()
  const demo = await place.person('demo')
  await place.target('web1')
  await place.target('db1')
  await place.target('secret1')
  return { ...place, demo }
}

const grantTo = (
  tenant: TenantId,
  target: string,
  more: Partial<Parameters<typeof access.addGrant>[1]> = {},
) => access.addGrant(tenant, { user: 'demo', target, ...more }, actor)

test('opens the only target that may be opened, as its default login', async () => {
  const { tenant, slug, demo } = await openPlace()
  await grantTo(tenant, 'web1')
  expect(allowed(await access.authorize(demo, shell))).toMatchObject({
    tenant,
    tenantSlug: slug,
    user: demo.user,
    target: { name: 'web1', host: '192.0.2.7', port: 22, auth: 'key' },
    login: 'root',
    allow: ['shell', 'exec', 'sftp', 'jump'],
    keyFingerprint: demo.keyFingerprint,
  })
})

test('lets those with several targets choose, of those that they may open', async () => {
  const { tenant, slug, demo } = await openPlace()
  await grantTo(tenant, 'web1')
  await grantTo(tenant, 'db1')
  const denial = denied(await access.authorize(demo, shell))
  expect(denial).toMatchObject({ code: 'ERR_TARGET_CHOICE', targets: ['db1', 'web1'] })
  expect(denial.message).toBe(`choose a target: connect as ${slug}+<target>, with one of db1, web1`)
  expect(allowed(await access.authorize(demo, { target: 'db1', ...shell })).target.name).toBe('db1')
})

test('an agent that is asked for before the menu is no refusal on the log', async () => {
  const { tenant, demo, events } = await openPlace()
  await grantTo(tenant, 'web1')
  await grantTo(tenant, 'db1')
  const before = await events()
  for (const kind of ['agent', 'x11'] as const) {
    expect(await access.permit(demo, { kind })).toMatchObject({ code: 'ERR_TARGET_CHOICE' })
  }
  expect(await events()).toEqual(before)
  // With a target, it is one.
  expect(await access.permit(demo, { target: 'web1', kind: 'agent' })).toMatchObject({
    denied: 'no-kind',
  })
  expect((await events()).at(-1)).toMatchObject({ type: 'session.refused' })
})

test('answers alike for a target that is not there and one that may not be opened', async () => {
  const { tenant, demo, events } = await openPlace()
  await grantTo(tenant, 'web1')
  const hidden = denied(await access.authorize(demo, { target: 'secret1', ...shell }))
  const missing = denied(await access.authorize(demo, { target: 'secret2', ...shell }))
  expect(hidden).toMatchObject({ code: 'ERR_NO_GRANT', denied: 'no-grant', targets: ['web1'] })
  const withoutName = ({ message, ...rest }: typeof hidden, name: string) => ({
    ...rest,
    message: message.replace(name, '…'),
  })
  expect(withoutName(hidden, 'secret1')).toEqual(withoutName(missing, 'secret2'))
  // The log says which it was.
  const secret = await access.findTarget(tenant, 'secret1')
  expect((await events()).slice(-2)).toMatchObject([
    { type: 'session.refused', public: { denied: 'no-grant', target: secret?.id } },
    {
      type: 'session.refused',
      public: { denied: 'no-target', code: 'ERR_NO_GRANT' },
      private: { targetName: 'secret2' },
    },
  ])
})

test('says what to do to those who may open nothing yet', async () => {
  const { slug, demo } = await openPlace()
  const denial = denied(await access.authorize(demo, shell))
  expect(denial).toMatchObject({ code: 'ERR_NO_GRANT', targets: [] })
  expect(denial.message).toContain(`vaultterm grant add ${slug} --user demo`)
})

test.each<[string, Partial<Parameters<typeof access.addGrant>[1]>, AccessAttempt, string]>([
  ['another kind', { allow: ['exec'] }, shell, 'ERR_KIND_NOT_GRANTED'],
  ['forwarding, unless it says so', {}, { kind: 'forward' }, 'ERR_KIND_NOT_GRANTED'],
  ['another login', { logins: ['deploy'] }, { login: 'root', ...shell }, 'ERR_LOGIN_NOT_GRANTED'],
  ['a login of no target', {}, { login: 'oracle', ...shell }, 'ERR_LOGIN_NOT_GRANTED'],
  ['anything after its end', { until: '2020-01-01T00:00:00Z' }, shell, 'ERR_NO_GRANT'],
])('does not open with a grant %s', async (_what, grant, wish, code) => {
  const { tenant, demo } = await openPlace()
  await grantTo(tenant, 'web1', grant)
  expect(denied(await access.authorize(demo, { target: 'web1', ...wish })).code).toBe(code)
})

test('takes a login and a kind from the same grant only', async () => {
  const { tenant, demo } = await openPlace()
  await grantTo(tenant, 'web1', { logins: ['root'], allow: ['sftp'] })
  await grantTo(tenant, 'web1', { logins: ['deploy'], allow: ['shell'] })
  const ask = async (login: string, kind: 'shell' | 'sftp') => {
    const answer = await access.authorize(demo, { target: 'web1', login, kind })
    return 'denied' in answer ? answer.code : answer.login
  }
  expect(await ask('root', 'shell')).toBe('ERR_LOGIN_NOT_GRANTED')
  expect(await ask('deploy', 'sftp')).toBe('ERR_LOGIN_NOT_GRANTED')
  expect(await ask('root', 'sftp')).toBe('root')
  expect(await ask('deploy', 'shell')).toBe('deploy')
  // The default is the first login that may do it.
  expect(allowed(await access.authorize(demo, shell)).login).toBe('deploy')
})

test('opens every target, new ones too, with a grant for all of a role', async () => {
  const { tenant, person, target } = await openPlace()
  await access.addGrant(tenant, { role: 'admin', target: '*', allow: ['shell'] }, actor)
  const admin = await person('boss', 'admin')
  const member = await person('intern')
  await target('later1')
  const wish = { target: 'later1', ...shell }
  expect(allowed(await access.authorize(admin, wish)).target.name).toBe('later1')
  expect(denied(await access.authorize(member, wish)).code).toBe('ERR_NO_GRANT')
})

test('believes the database, not what was so at the login', async () => {
  const { tenant, demo, person } = await openPlace()
  await access.addGrant(tenant, { role: 'owner', target: '*' }, actor)
  await grantTo(tenant, 'web1')
  // Who says to be owner is what the row says.
  const forged = { ...demo, user: { ...demo.user, role: 'owner' as const } }
  expect(denied(await access.authorize(forged, { target: 'db1', ...shell })).code).toBe(
    'ERR_NO_GRANT',
  )
  expect(allowed(await access.authorize(forged, shell)).user.role).toBe('member')
  // Another's key does not do.
  const other = await person('other')
  const mixed = { ...demo, keyFingerprint: other.keyFingerprint }
  expect(denied(await access.authorize(mixed, shell)).code).toBe('ERR_KEY_REMOVED')
})

test.each([
  ['the key was removed', 'ERR_KEY_REMOVED'],
  ['the key has expired', 'ERR_KEY_REMOVED'],
  ['the user was removed', 'ERR_USER_REMOVED'],
  ['the tenant was suspended', 'ERR_TENANT_SUSPENDED'],
] as const)('opens nothing more on an open connection once %s', async (what, code) => {
  const { tenant, demo, events } = await openPlace()
  await grantTo(tenant, 'web1')
  allowed(await access.authorize(demo, shell))
  const { keyFingerprint } = demo
  if (what === 'the key was removed') await auth.removeKey(tenant, keyFingerprint, actor)
  else if (what === 'the user was removed') await auth.removeUser(tenant, 'demo', actor)
  else if (what === 'the tenant was suspended') {
    await database.app.write(tenant, (tx) => tx.run('update tenant set suspended_at = now()'))
  } else {
    const expire = "update user_key set expires_at = now() - interval '1 s' where fingerprint = $1"
    await database.superuser(expire, [keyFingerprint])
  }
  expect(denied(await access.authorize(demo, shell)).code).toBe(code)
  expect((await events()).at(-1)).toMatchObject({ type: 'session.refused', public: { code } })
})

test('does not let a loop of refusals fill the log', async () => {
  const { demo, events } = await openPlace()
  for (let round = 0; round < 10; round++) {
    const all = await Promise.all(Array.from({ length: 15 }, () => access.authorize(demo, shell)))
    for (const each of all) denied(each)
  }
  const refused = (await events()).filter(({ type }) => type === 'session.refused')
  // The limit is for a minute, and the minute may have turned.
  expect(refused.length).toBeGreaterThanOrEqual(60)
  expect(refused.length).toBeLessThanOrEqual(120)
})
