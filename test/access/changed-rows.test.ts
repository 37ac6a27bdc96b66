import { randomBytes } from 'node:crypto'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createAccess, tagOldTargets } from '../../src/access/index.ts'
import { createAuth } from '../../src/auth/index.ts'
import { createCa, loginCertificates } from '../../src/ca/index.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import { formatPublicKey, parsePublicKey } from '../../src/ssh/index.ts'
import { makeKey, signed } from '../auth/auth-fixture.ts'
import { silent } from '../support/postgres.ts'
import { openVaultFixture } from '../vault/vault-fixture.ts'
import { actor, allowed, newKey, newTarget, shell } from './access-fixture.ts'

/**
 * Somebody is a superuser of the database, and has nothing else: not the operator's key, no login.
 * Each attack is a statement of theirs. A new process then meets what they left.
 */
const fixture = await openVaultFixture()
const { database, events } = fixture
const changed = { code: 'ERR_RECORD_CHANGED' }

async function newProcess() {
  const vault = await fixture.another()
  const deps = { database: database.app, vault, log: silent, metrics: new Registry() }
  const ca = createCa({ ...deps, egress: undefined, metrics: new Registry() })
  const auth = createAuth({ ...deps, certificates: loginCertificates(ca) })
  const access = createAccess({ ...deps, ca, registry: undefined, metrics: new Registry() })
  return { vault, ca, auth, access }
}

async function newPlace(given?: Awaited<ReturnType<typeof newProcess>>) {
  const slug = `t${randomBytes(6).toString('hex')}`
  const tenant = await database.createTenant(slug)
  const { auth, access } = given ?? (await newProcess())
  const { id } = await auth.addUser(tenant, { name: 'demo', role: 'member' }, actor)
  const key = makeKey()
  const { fingerprint } = await auth.addKey(tenant, 'demo', key.line, {}, actor)
  await access.addTarget(tenant, newTarget('web1'), actor)
  await access.addTarget(tenant, newTarget('web2'), actor)
  await access.addGrant(tenant, { user: 'demo', target: '*' }, actor)
  const user = { id, name: 'demo', role: 'member' as const }
  return { tenant, key, demo: { tenant, tenantSlug: slug, user, keyFingerprint: fingerprint } }
}

const refusals = async (tenant: TenantId) =>
  (await events(tenant)).filter(({ type }) => type === 'record.refused')

const ofTarget = "tenant_id = $1 and name = 'web1'"
const itsKeys = `tenant_id = $1 and target_id = (select id from target where ${ofTarget})`
const attacks: [what: string, statement: string, values?: () => readonly unknown[]][] = [
  [
    'the pinned host key',
    `update target_host_key set blob = $2 where ${itsKeys}`,
    () => [newKey()],
  ],
  [
    'one more pinned host key',
    `insert into target_host_key (tenant_id, target_id, type, blob)
       select tenant_id, id, 'ssh-ed25519', $2 from target where ${ofTarget}`,
    () => [newKey()],
  ],
  [
    'address and host key of another target',
    `update target_host_key k set target_id = (select id from target t where t.tenant_id = $1
       and t.id <> k.target_id) where tenant_id = $1`,
  ],
  ['the host', `update target set host = '203.0.113.66' where ${ofTarget}`],
  ['the port', `update target set port = 2222 where ${ofTarget}`],
  ['the logins', `update target set logins = '{root,toor}' where ${ofTarget}`],
  ['the way to log in', `update target set auth = 'cert' where ${ofTarget}`],
  ['who vouches for it', `update target set host_certified = true where ${ofTarget}`],
  ['the tag', `update target set tag = null where ${ofTarget}`],
  [
    'the tag of the other',
    `update target t set tag = o.tag from target o
     where t.tenant_id = $1 and o.tenant_id = $1 and t.name <> o.name`,
  ],
  [
    'the name with that of the other',
    `update target t set name = case name
     when 'web1' then 'old' else 'web1' end where t.tenant_id = $1`,
  ],
]

test.each(attacks)(
  'attack: a superuser swaps %s of a target, and nobody is led there',
  async (_, statement, values = () => []) => {
    const { tenant, demo } = await newPlace()
    const before = await newProcess()
    allowed(await before.access.authorize(demo, { target: 'web1', ...shell }))
    await database.superuser(statement, [tenant, ...values()])
    // A process that knew the row before, and one that did not.
    for (const { vault, access } of [before, await newProcess()]) {
      const wish = { target: 'web1', ...shell }
      await expect(access.authorize(demo, wish)).rejects.toMatchObject(changed)
      await expect(access.findTarget(tenant, 'web1')).rejects.toMatchObject(changed)
      await expect(access.listTargets(tenant)).rejects.toThrow(/remove the target/)
      const jump = access.authorizeJump(demo, { host: 'web1', port: 22 }, { isJump: false })
      await expect(jump).rejects.toMatchObject(changed)
      const moved = access.updateTarget(tenant, 'web1', { port: 2222 }, actor)
      await expect(moved).rejects.toMatchObject(changed)
      await expect(access.certifyHost(tenant, 'web1')).rejects.toMatchObject(changed)
      await vault.close()
    }
    expect((await refusals(tenant)).length).toBeGreaterThan(0)
    const { access } = await newProcess()
    const removed = await access.removeTarget(tenant, 'web1', actor)
    expect(removed.hostKeys).toEqual([])
  },
)

/** One process for what needs no other: each holds connections until the end of the file. */
const writer = await newProcess()

test.each([
  ['the host', 'target', 'before insert or update', "new.host := '203.0.113.66'"],
  ['the logins', 'target', 'before insert or update', "new.logins := '{root,toor}'"],
  ['who vouches for it', 'target', 'before insert or update', 'new.host_certified := true'],
  ['the host key', 'target_host_key', 'before insert', "new.blob := '\\x00'::bytea"],
])(
  'attack: a trigger that swaps %s while a target is written gets no tag for it',
  async (_, table, when, swap) => {
    const { tenant } = await newPlace(writer)
    const { access } = writer
    await database.superuser(`
      create function swap() returns trigger language plpgsql as $$
      begin
        if new.tenant_id = '${tenant}' then ${swap}; end if;
        return new;
      end $$;
      create trigger swap ${when} on public.${table} for each row execute function swap()`)
    try {
      await expect(access.addTarget(tenant, newTarget('web3'), actor)).rejects.toMatchObject(
        changed,
      )
      await expect(
        access.updateTarget(
          tenant,
          'web1',
          { hostKeys: { keys: newTarget('x').hostKeys, replace: false }, port: 2200 },
          actor,
        ),
      ).rejects.toMatchObject(changed)
    } finally {
      await database.superuser('drop function swap() cascade')
    }
    // Nothing of it was written.
    expect((await access.listTargets(tenant)).map(({ name, port }) => [name, port])).toEqual([
      ['web1', 22],
      ['web2', 22],
    ])
  },
)

const asOld = "'BVE1'::bytea || substring(wrapped from 5)"
test.each([
  ['a copy of the tenant’s own', 'select 2, wrapped from vault_kek where tenant_id = $1'],
  ['a copy of another tenant’s', 'select 2, wrapped from vault_kek where tenant_id <> $1 limit 1'],
  [
    'one that says it is from before tags',
    `select 2, ${asOld} from vault_kek where tenant_id = $1`,
  ],
  ['none at all', "select 2, 'BVE1'::bytea where $1 = $1"],
])(
  'attack: with %s among a tenant’s keys, a row that others wrote is not used',
  async (_, forged) => {
    const { tenant } = await newPlace(writer)
    await newPlace(writer)
    expect(await writer.access.listTargets(tenant)).toHaveLength(2)
    await database.superuser(
      `set session_replication_role = replica;
       insert into vault_kek (tenant_id, version, wrapped, records_tagged)
         select '${tenant}', f.version, f.wrapped, false
         from (${forged.replaceAll('$1', `'${tenant}'`)}) as f (version, wrapped)`,
    )
    // At a start the process looks for tenants from before tags: the row says that this is one.
    const next = await newProcess()
    await next.vault.tagOldTenants(async (tx, tag) => tagOldTargets(tx, tag)).catch(() => {})
    // The rows with honest tags are as good as before.
    expect(await next.access.listTargets(tenant)).toHaveLength(2)
    for (const tag of ["overlay(tag placing '\\x00000002'::bytea from 5)", 'null']) {
      await database.superuser(
        `update target set host = '203.0.113.66', tag = ${tag} where ${ofTarget}`,
        [tenant],
      )
      for (const one of [writer, next])
        await expect(one.access.listTargets(tenant), tag).rejects.toThrow()
      const [row] = await database.superuser<{ tagged: boolean }>(
        `select tag is not null as tagged from target where ${ofTarget}`,
        [tenant],
      )
      // And no start gives it a tag.
      expect(row?.tagged).toBe(tag !== 'null')
    }
    await next.vault.close()
  },
)

test('goes on with the other targets when one was changed', async () => {
  const { tenant, demo } = await newPlace()
  await database.superuser(`update target set host = 'x' where ${ofTarget}`, [tenant])
  const { access } = await newProcess()
  allowed(await access.authorize(demo, { target: 'web2', ...shell }))
  const jump = await access.authorizeJump(demo, { host: 'web2', port: 22 }, { isJump: false })
  expect(jump).toMatchObject({ target: { name: 'web2' } })
})

test('a target that was updated is intact, until somebody else changes it', async () => {
  const { tenant, demo } = await newPlace()
  const { access } = await newProcess()
  await access.updateTarget(tenant, 'web1', { host: 'moved.example', port: 2222 }, actor)
  allowed(await access.authorize(demo, { target: 'web1', ...shell }))
  await database.superuser(`update target set host = 'x' where ${ofTarget}`, [tenant])
  const wish = { target: 'web1', ...shell }
  await expect(access.authorize(demo, wish)).rejects.toMatchObject(changed)
})

test('a target whose host was certified is still intact, and opens', async () => {
  const { tenant, demo } = await newPlace()
  await (await newProcess()).access.certifyHost(tenant, 'web1')
  const { access } = await newProcess()
  expect(await access.findTarget(tenant, 'web1')).toMatchObject({ hostCertified: true })
  allowed(await access.authorize(demo, { target: 'web1', ...shell }))
})

test('attack: a superuser registers a key of their own for a user, and is let in by nothing', async () => {
  const { tenant, key, demo } = await newPlace()
  const own = makeKey()
  const parsed = parsePublicKey(own.line)
  if ('problem' in parsed) throw new Error(parsed.problem)
  const login = async (by: typeof key) =>
    (await newProcess()).auth.authenticateSsh({ tenant, attempt: signed(by), source: '192.0.2.9' })
  expect(await login(key)).toMatchObject({ user: { id: demo.user.id } })
  const values = [tenant, demo.user.id, own.blob, parsed.key.fingerprint]
  for (const tag of [
    'null',
    '(select tag from user_key where tenant_id = $1)',
    "decode(repeat('00', 40), 'hex')",
  ]) {
    await database.superuser(
      `insert into user_key (tenant_id, user_id, type, blob, fingerprint, tag)
         values ($1, $2, 'ssh-ed25519', $3, $4, ${tag})`,
      values,
    )
    expect(await login(own)).toBeUndefined()
    const { auth } = await newProcess()
    await expect(auth.listKeys(tenant)).rejects.toMatchObject(changed)
    expect(await login(key)).toBeDefined()
    await auth.removeKey(tenant, parsed.key.fingerprint, actor)
  }
  await expect.poll(async () => (await refusals(tenant)).length).toBeGreaterThan(0)
  expect(await (await newProcess()).auth.listKeys(tenant)).toHaveLength(1)
})

test.each([
  [
    'whose it is',
    "update user_key set user_id = (select id from app_user where tenant_id = $1 and name = 'boss') where tenant_id = $1",
  ],
  [
    'until when it is good',
    "update user_key set expires_at = now() + interval '9 years' where tenant_id = $1",
  ],
  [
    'that its holder must be known',
    'update user_key set verify_required = true where tenant_id = $1',
  ],
])(
  'attack: a superuser swaps %s of a registered key, and it lets nobody in',
  async (_, statement) => {
    const { tenant, key } = await newPlace()
    await (await newProcess()).auth.addUser(tenant, { name: 'boss', role: 'owner' }, actor)
    await database.superuser(statement, [tenant])
    const { auth } = await newProcess()
    const attempt = signed(key)
    expect(await auth.authenticateSsh({ tenant, attempt, source: '192.0.2.9' })).toBeUndefined()
  },
)

const inCa = "tenant_id = $1 and kind = 'user'"
test.each<[string, string]>([
  [
    'the public key',
    `update certificate_authority set public_key = $2, fingerprint = $3 where ${inCa} and state = 'active'`,
  ],
  [
    'the public key of the next one',
    `update certificate_authority set public_key = $2, fingerprint = $3 where ${inCa} and state = 'next'`,
  ],
  [
    'one more',
    `insert into certificate_authority (tenant_id, kind, generation, state, public_key, fingerprint, retired_at)
     values ($1, 'user', 99, 'retired', $2, $3, now())`,
  ],
  [
    'the public key, in the vault as well',
    `with v as (update vault_secret set public_key = $4
     where tenant_id = $1 and path = 'ca/user/1') update certificate_authority
     set public_key = $2, fingerprint = $3 where ${inCa} and state = 'active'`,
  ],
])(
  'attack: a superuser swaps %s of an authority, and nobody is told to trust it',
  async (_, statement) => {
    const tenant = await database.createTenant()
    const first = await newProcess()
    await first.ca.authorities(tenant, 'user')
    const blob = newKey()
    const line = formatPublicKey({ type: 'ssh-ed25519', blob })
    const parsed = parsePublicKey(line)
    if ('problem' in parsed) throw new Error(parsed.problem)
    const values = [tenant, blob, parsed.key.fingerprint, line].slice(
      0,
      statement.includes('$4') ? 4 : 3,
    )
    await database.superuser(statement, values)
    for (const { vault, ca } of [first, await newProcess()]) {
      await expect(ca.authorities(tenant, 'user')).rejects.toMatchObject(changed)
      await expect(ca.revocationList(tenant, 'user')).rejects.toMatchObject(changed)
      await expect(ca.rotate(tenant, 'user', {})).rejects.toMatchObject(changed)
      const { authorities } = await database.app.read(tenant, (tx) =>
        ca.trust(tx, tenant, 'user', undefined),
      )
      expect(authorities.some(({ publicKey }) => publicKey.equals(blob))).toBe(false)
      // The other kind is as it was.
      expect(await ca.authorities(tenant, 'host')).toHaveLength(2)
      await vault.close()
    }
    expect((await refusals(tenant)).length).toBeGreaterThan(0)
  },
)
