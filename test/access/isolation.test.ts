import { expect, test } from 'vitest'
import { actor, allowed, denied, open, openAccessFixture, shell, start } from './access-fixture.ts'

const fixture = await openAccessFixture()
const { access, database } = fixture

/** Two customers who use the same names for everything. */
async function openTwo() {
  const places = await Promise.all(
    [1, 2].map(async () => {
      const place = await fixture.place()
      const demo = await place.person('demo', 'owner')
      await place.target('web1')
      const grant = await access.addGrant(place.tenant, { user: 'demo', target: 'web1' }, actor)
      return { ...place, demo, grant, session: await open(access, demo, 'web1') }
    }),
  )
  const [acme, globex] = places
  if (acme === undefined || globex === undefined) throw new Error('two were made')
  return { acme, globex }
}

const tables = ['target', 'target_host_key', 'access_grant', 'session']

test.each(tables)('shows a tenant its own rows of %s only', async (table) => {
  const { acme, globex } = await openTwo()
  const count = async (of: string) =>
    database.app.read(acme.tenant, (tx) =>
      tx.one<{ rows: number }>(`select count(*) as rows from ${table} where tenant_id = $1`, [of]),
    )
  expect(await count(globex.tenant)).toEqual({ rows: 0 })
  expect((await count(acme.tenant)).rows).toBeGreaterThan(0)
  const asked = database.bastion.read(acme.tenant, (tx) => tx.many(`select from ${table}`))
  await expect(asked).rejects.toThrow(/permission denied/)
})

test('an identity of one tenant opens nothing of another by saying so', async () => {
  const { acme, globex } = await openTwo()
  const forged = { ...acme.demo, tenant: globex.tenant, tenantSlug: globex.slug }
  expect(denied(await access.authorize(forged, { target: 'web1', ...shell })).code).toBe(
    'ERR_USER_REMOVED',
  )
  const mixed = { ...forged, user: globex.demo.user }
  expect(denied(await access.authorize(mixed, { target: 'web1', ...shell })).code).toBe(
    'ERR_KEY_REMOVED',
  )
  // The control: the same wish with the right identity.
  allowed(await access.authorize(globex.demo, { target: 'web1', ...shell }))
})

test('an authorization of one tenant starts and leases nothing in another', async () => {
  const { acme, globex } = await openTwo()
  const mine = allowed(await access.authorize(acme.demo, shell))
  const theirs = allowed(await access.authorize(globex.demo, shell))
  const refused = { code: 'ERR_AUTHORIZATION' }
  for (const forged of [
    { ...mine, tenant: globex.tenant },
    { ...mine, target: theirs.target },
    { ...theirs, id: mine.id },
  ]) {
    await expect(access.startSession(forged, start)).rejects.toMatchObject(refused)
  }
  const leases = fixture.leases.length
  await expect(access.leaseKey(mine, globex.session)).rejects.toMatchObject(refused)
  await expect(access.upstreamOpened(mine, globex.session)).rejects.toMatchObject(refused)
  for (const bent of [{ login: 'somebody' }, { user: { ...mine.user, id: theirs.user.id } }]) {
    const opened = access.upstreamOpened({ ...mine, ...bent }, acme.session)
    await expect(opened).rejects.toMatchObject(refused)
  }
  expect(fixture.leases).toHaveLength(leases)
})

test('a tenant neither sees nor ends a session of another by its id', async () => {
  const { acme, globex } = await openTwo()
  expect(await access.session(acme.tenant, globex.session)).toBeUndefined()
  expect((await access.sessions(acme.tenant)).map(({ id }) => id)).toEqual([acme.session])
  const before = { ...(await access.session(globex.tenant, globex.session)) }
  await access.endSession(globex.session, { tenant: acme.tenant, bytes: 1, reason: 'ended' })
  expect(await access.session(globex.tenant, globex.session)).toEqual(before)
  // An operator's look by id alone is another method, and knows whose it is.
  expect(await access.findSession(globex.session)).toMatchObject({ tenant: globex.slug })
})

test('a tenant removes nothing of another by its id or its name', async () => {
  const { acme, globex } = await openTwo()
  await expect(access.removeGrant(acme.tenant, globex.grant.id, actor)).rejects.toMatchObject({
    code: 'ERR_GRANT_MISSING',
  })
  await access.removeTarget(acme.tenant, 'web1', actor)
  expect(await access.findTarget(globex.tenant, 'web1')).toBeDefined()
  expect(await access.listGrants(globex.tenant)).toHaveLength(1)
  expect(await access.session(globex.tenant, globex.session)).toMatchObject({ live: true })
})

test('a grant of one tenant cannot name a user or a target of another', async () => {
  const { acme, globex } = await openTwo()
  const theirs = await access.findTarget(globex.tenant, 'web1')
  const insert = (user: string, target: string | undefined) =>
    database.app.write(acme.tenant, (tx) =>
      tx.run(
        "insert into access_grant (user_id, target_id, allow) values ($1, $2, array['shell'])",
        [user, target],
      ),
    )
  await expect(insert(acme.demo.user.id, theirs?.id)).rejects.toThrow(/foreign key/)
  await expect(insert(globex.demo.user.id, undefined)).rejects.toThrow(/foreign key/)
  const ours = await access.findTarget(acme.tenant, 'web1')
  expect(await insert(acme.demo.user.id, ours?.id)).toBe(1)
})

test('no tenant writes a row as another, rewrites a start or deletes a session', async () => {
  const { acme, globex } = await openTwo()
  const attempt = (statement: string, values: readonly unknown[] = []) =>
    database.app.write(acme.tenant, (tx) => tx.run(statement, values))
  const asOther =
    "insert into target (tenant_id, name, host, port, logins) values ($1, 'x', 'y', 22, '{root}')"
  await expect(attempt(asOther, [globex.tenant])).rejects.toThrow(/permission denied/)
  for (const statement of [
    "update session set user_name = 'somebody-else'",
    "update session set command = 'ls'",
    'update session set started_at = now()',
    'delete from session',
    "update target set name = 'other'",
    'update target set id = gen_random_uuid()',
    'update target set tenant_id = tenant_id',
    "update access_grant set until = now() + interval '1 year'",
    'update target_host_key set blob = blob',
  ]) {
    await expect(attempt(statement), statement).rejects.toThrow(/permission denied/)
  }
})

test('what looks across tenants sees whose session an id is, and nothing of it', async () => {
  await openTwo()
  const across = (columns: string) =>
    database.app.system((tx) => tx.many(`select ${columns} from session`))
  expect((await across('tenant_id, id, node, ended_at')).length).toBeGreaterThan(1)
  for (const column of ['user_name', 'target_name', 'command', 'source', '*']) {
    await expect(across(column), column).rejects.toThrow(/permission denied/)
  }
})
