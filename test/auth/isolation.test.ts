import pg from 'pg'
import { beforeAll, expect, test } from 'vitest'
import { actor, makeKey, openAuthFixture, signed, source } from './auth-fixture.ts'

const fixture = await openAuthFixture()
const { auth, database } = fixture

/** Two customers who use the same name for somebody. */
async function openTwo() {
  const one = async () => {
    const place = await fixture.place()
    const holder = await place.holder('demo')
    const cookie = await place.signIn('demo')
    const { token } = await auth.createLoginLink(place.tenant, 'demo', actor)
    return { ...place, ...holder, cookie, token }
  }
  return { acme: await one(), globex: await one() }
}

let { acme, globex }: Partial<Awaited<ReturnType<typeof openTwo>>> = {}
beforeAll(async () => {
  ;({ acme, globex } = await openTwo())
})
const two = () => {
  if (acme === undefined || globex === undefined) throw new Error('two were made')
  return { acme, globex }
}

const tables = ['app_user', 'user_key', 'login_link', 'web_session']

test.each(tables)('shows a tenant its own rows of %s only', async (table) => {
  const { acme, globex } = two()
  const count = (of: string) =>
    database.app.read(acme.tenant, (tx) =>
      tx.one<{ rows: number }>(`select count(*)::int as rows from ${table} where tenant_id = $1`, [
        of,
      ]),
    )
  expect((await count(acme.tenant)).rows).toBeGreaterThan(0)
  expect(await count(globex.tenant)).toEqual({ rows: 0 })
})

test.each(tables)('binds even the owner of %s to the tenant of the transaction', async (table) => {
  const { acme, globex } = two()
  const [security] = await database.superuser(
    'select relrowsecurity as on, relforcerowsecurity as forced from pg_class where relname = $1',
    [table],
  )
  expect(security).toEqual({ on: true, forced: true })
  const rows = () =>
    database.superuser(`select t::text from ${table} t where tenant_id = $1`, [globex.tenant])
  const before = await rows()
  expect(before.length).toBeGreaterThan(0)
  await database.owner(acme.tenant, `delete from ${table} where tenant_id = '${globex.tenant}'`)
  expect(await rows()).toEqual(before)
})

test.each(tables)(
  'keeps %s from the bastion’s role and from those that look across',
  async (table) => {
    const { acme } = two()
    const denied = /permission denied/
    for (const statement of [`select from ${table}`, `delete from ${table}`]) {
      const asBastion = database.bastion.write(acme.tenant, (tx) => tx.run(statement))
      await expect(asBastion).rejects.toThrow(denied)
      await expect(database.app.system((tx) => tx.run(statement))).rejects.toThrow(denied)
      await expect(database.bastion.system((tx) => tx.run(statement))).rejects.toThrow(denied)
    }
  },
)

test.each(tables)('shows no row of %s where there is no tenant', async (table) => {
  const { acme } = two()
  const client = new pg.Client({ connectionString: database.urls.app.reveal() })
  await client.connect()
  try {
    await client.query('set role vaultterm_app')
    const count = async (tenant: string | undefined) => {
      if (tenant !== undefined)
        await client.query("select set_config('app.tenant_id', $1, false)", [tenant])
      return (await client.query(`select count(*)::int as rows from ${table}`)).rows[0].rows
    }
    expect(await count(undefined)).toBe(0)
    expect(await count(acme.tenant)).toBeGreaterThan(0)
    expect(await count('')).toBe(0)
  } finally {
    await client.end()
  }
})

interface Attack {
  readonly what: string
  /** Run in acme's transaction, with the ids of globex and of its user. */
  readonly statement: (globex: string, user: string) => string
  readonly refused: RegExp
}
const denied = /permission denied/
const foreign = /foreign key/

/** What somebody with the application's database login may try from one tenant. */
const attacks: readonly Attack[] = [
  {
    what: 'adds a user to another tenant',
    statement: (globex) =>
      `insert into app_user (tenant_id, name, role) values ('${globex}', 'eve', 'owner')`,
    refused: denied,
  },
  {
    what: 'gives a user of another tenant a key',
    statement: (_, user) => `insert into user_key (user_id, type, blob, fingerprint)
      values ('${user}', 'ssh-ed25519', '\\x01', 'SHA256:x')`,
    refused: foreign,
  },
  {
    what: 'makes a link for a user of another tenant',
    statement: (_, user) => `insert into login_link (user_id, token_hash, expires_at)
      values ('${user}', sha256('x'), now() + interval '1 hour')`,
    refused: foreign,
  },
  {
    what: 'opens a web session without its event',
    statement: (_, user) => `insert into web_session (user_id, cookie_hash, expires_at)
      values ('${user}', sha256('x'), now() + interval '1 hour')`,
    refused: denied,
  },
  {
    what: 'moves its own user to another tenant',
    statement: (globex) => `update app_user set tenant_id = '${globex}'`,
    refused: denied,
  },
  ...[
    ['makes its user an owner in place', "update app_user set role = 'owner'"],
    ['puts another key in the place of one', "update user_key set blob = '\\x01'"],
    ['makes a key last longer', 'update user_key set expires_at = null'],
    ['makes a link last longer', 'update login_link set expires_at = expires_at'],
    ['makes a web session last longer', 'update web_session set expires_at = expires_at'],
    ['makes a web session another user’s', 'update web_session set user_id = user_id'],
  ].map(([what = '', text = '']) => ({ what, statement: () => text, refused: denied })),
]

test.each(attacks)('nobody $what', async ({ statement, refused }) => {
  const { acme, globex } = two()
  const text = statement(globex.tenant, globex.user.id)
  const attempt = database.app.write(acme.tenant, (tx) => tx.run(text))
  await expect(attempt).rejects.toThrow(refused)
})

test('the control: the same statements with the tenant’s own user are let through', async () => {
  const { acme, globex } = await openTwo()
  for (const { statement, refused } of attacks) {
    if (refused !== foreign) continue
    const text = statement(globex.tenant, acme.user.id)
    expect(await database.app.write(acme.tenant, (tx) => tx.run(text))).toBe(1)
  }
})

test('a registered key is nobody’s in another tenant, and proves each tenant’s own where it is in both', async () => {
  const { acme, globex } = await openTwo()
  expect(await globex.login(signed(acme.key))).toBeUndefined()
  expect(await acme.login(signed(acme.key))).toMatchObject({ user: { id: acme.user.id } })

  const both = makeKey()
  await auth.addKey(acme.tenant, 'demo', both.line, {}, actor)
  await auth.addKey(globex.tenant, 'demo', both.line, {}, actor)
  expect(await acme.login(signed(both))).toMatchObject({ user: { id: acme.user.id } })
  expect(await globex.login(signed(both))).toMatchObject({ user: { id: globex.user.id } })
  const [own] = (await auth.listKeys(acme.tenant)).slice(-1)
  await auth.removeKey(acme.tenant, own?.fingerprint ?? '', actor)
  expect(await acme.login(signed(both))).toBeUndefined()
  expect(await globex.login(signed(both))).toBeDefined()
})

test('a tenant removes no user and no key of another, and lists none', async () => {
  const { acme, globex } = await openTwo()
  await expect(auth.removeKey(acme.tenant, globex.fingerprint, actor)).rejects.toMatchObject({
    code: 'ERR_KEY_MISSING',
  })
  await auth.removeUser(acme.tenant, 'demo', actor)
  expect(await auth.listUsers(acme.tenant)).toEqual([])
  expect(await auth.listKeys(acme.tenant)).toEqual([])
  expect(await auth.listUsers(globex.tenant)).toHaveLength(1)
  expect(await globex.login(signed(globex.key))).toBeDefined()
  expect(await auth.web.session(globex.cookie)).toBeDefined()
  expect(await auth.web.redeem(globex.token)).toBeDefined()
})

test('what is swept away is the tenant’s own', async () => {
  const { acme, globex } = await openTwo()
  await database.superuser(
    "update login_link set expires_at = now() - interval '1 hour' where tenant_id = any($1)",
    [[acme.tenant, globex.tenant]],
  )
  await fixture.sweep(acme.tenant)
  const own = await database.superuser(
    'select from login_link where tenant_id = $1 and expires_at < now()',
    [acme.tenant],
  )
  expect(own).toEqual([])
  const links = await database.superuser(
    'select count(*)::int as links from login_link where tenant_id = $1 and expires_at < now()',
    [globex.tenant],
  )
  expect(links).toEqual([{ links: 1 }])
})

test('a suspended tenant takes no other with it', async () => {
  const { acme, globex } = await openTwo()
  await acme.suspend()
  expect(await acme.login(signed(acme.key))).toBeUndefined()
  expect(await auth.web.session(acme.cookie)).toBeUndefined()
  expect(await globex.login(signed(globex.key))).toBeDefined()
  expect(await auth.web.session(globex.cookie)).toBeDefined()
})

test('what happens in one tenant is on no other’s log', async () => {
  const { acme, globex } = await openTwo()
  const before = await globex.events()
  const attempt = signed(makeKey())
  await auth.authenticateSsh({ tenant: acme.tenant, attempt, source })
  await acme.login(signed(acme.key))
  await auth.removeUser(acme.tenant, 'demo', actor)
  await expect.poll(() => acme.events('login.failure')).toHaveLength(1)
  expect(await globex.events()).toEqual(before)
})
