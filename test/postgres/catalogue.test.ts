import { expect, test } from 'vitest'
import { openTestDatabase } from '../support/postgres.ts'

/** What the catalogue of a migrated database says, whatever migrations come. */
const { superuser } = await openTestDatabase()

/** Belong to the installation and to no tenant. A new name here is a decision. */
const tablesOfNobody = ['node_instance', 'schema_migration', 'vault_state']
/** Look across tenants, each by policies of its own. */
const rolesAcross = ['vaultterm_directory', 'vaultterm_system']
const roles = ['vaultterm_app', 'vaultterm_bastion', 'vaultterm_jobs', ...rolesAcross].toSorted()

interface Table {
  readonly name: string
  readonly tenanted: boolean
  readonly enabled: boolean
  readonly forced: boolean
}
const tables = await superuser<Table>(
  `select c.relname as name, c.relrowsecurity as enabled, c.relforcerowsecurity as forced,
     exists (select from pg_attribute a
       where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped) as tenanted
   from pg_class c
   where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'f') order by 1`,
)
const tenantTables = tables.filter(({ tenanted }) => tenanted).map(({ name }) => name)

test('knows every table that belongs to no tenant', () => {
  const others = tables.filter(({ tenanted }) => !tenanted).map(({ name }) => name)
  expect(others.filter((name) => !tablesOfNobody.includes(name))).toEqual([])
  expect(tenantTables).toContain('tenant')
  expect(tenantTables).toContain('audit_leaf')
})

test.each(tables.filter(({ tenanted }) => tenanted))(
  'binds everybody on $name by row security, its owner too',
  ({ enabled, forced }) => {
    expect({ enabled, forced }).toEqual({ enabled: true, forced: true })
  },
)

test.each(tenantTables)(
  'shows and takes on %s the transaction’s tenant, and only it',
  async (table) => {
    const policies = await superuser<{
      command: string
      permissive: string
      roles: string[]
      using: string | null
      check: string | null
    }>(
      `select cmd as command, permissive, roles::text[] as roles, qual as using, with_check as check
     from pg_policies where schemaname = 'public' and tablename = $1`,
      [table],
    )
    const across = (policy: (typeof policies)[number]) =>
      policy.roles.every((role) => rolesAcross.includes(role))
    const own = policies.filter((policy) => !across(policy))
    // Without a check of its own, what a policy shows is also what it takes.
    expect(own).toMatchObject([
      { command: 'ALL', roles: ['public'], using: '(tenant_id = app_tenant_id())', check: null },
    ])
    const writing = policies.filter((policy) => across(policy) && policy.command !== 'SELECT')
    expect(writing.filter(({ roles: to }) => to.includes('vaultterm_directory'))).toEqual([])
  },
)

test.each(tenantTables)(
  'fills in the tenant of %s from the transaction, or refuses',
  async (table) => {
    const [column] = await superuser<{ notNull: boolean; fallback: string | null }>(
      `select a.attnotnull as "notNull", pg_get_expr(d.adbin, d.adrelid) as fallback
     from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = ('public.' || $1)::regclass and a.attname = 'tenant_id'`,
      [table],
    )
    expect(column?.notNull).toBe(true)
    if (table !== 'tenant') expect(column?.fallback).toBe('app_tenant_id()')
  },
)

test('serves in roles that cannot get around row security, log in or act as an owner', async () => {
  const found = await superuser(
    `select r.rolname as name from pg_roles r
     where r.rolname = any($1) and not r.rolsuper and not r.rolbypassrls and not r.rolcanlogin
       and not r.rolcreaterole and not r.rolcreatedb and not r.rolreplication
       and not exists (select from pg_class c
         where c.relnamespace = 'public'::regnamespace and pg_has_role(r.oid, c.relowner, 'member'))
       and not exists (select from pg_auth_members m where m.member = r.oid)
     order by 1`,
    [roles],
  )
  expect(found).toEqual(roles.map((name) => ({ name })))
})

/** The one door to the logs. A new name here is a decision. */
const definers = [
  'audit_append',
  'audit_begin_epoch',
  'audit_lock',
  'audit_mend',
  'audit_open_log',
  'audit_publish',
  'audit_remove_checkpoints',
]

/** Each does one thing that its callers may not do by themselves. */
const ownersDefiners = [
  'session_kill',
  'user_role_change',
  'vault_kek_replace',
  'web_session_open',
  'web_session_renew',
]

test('runs only the door to the logs, and those few, with the rights of another role', async () => {
  const found = await superuser<{ name: string; owner: string; path: string; everybody: boolean }>(
    `select p.proname as name, p.proowner::regrole::text as owner,
       p.proconfig[1] as path,
       has_function_privilege('public', p.oid, 'execute') as everybody
     from pg_proc p where p.prosecdef and p.pronamespace = 'public'::regnamespace order by 1`,
  )
  const others = found.filter(({ owner }) => owner !== 'vaultterm_audit')
  expect(others.map(({ name }) => name)).toEqual(ownersDefiners)
  expect(others.some(({ everybody }) => everybody)).toBe(false)
  expect(found.filter((one) => !others.includes(one))).toEqual(
    definers.map((name) => ({
      name,
      owner: 'vaultterm_audit',
      path: 'search_path=pg_catalog, pg_temp',
      everybody: false,
    })),
  )
})

test('gives the door’s role nothing else to own, and no login that serves', async () => {
  const owned = await superuser<{ name: string }>(
    `select p.proname as name from pg_proc p where p.proowner = 'vaultterm_audit'::regrole
     union all select c.relname from pg_class c where c.relowner = 'vaultterm_audit'::regrole
     union all select n.nspname from pg_namespace n where n.nspowner = 'vaultterm_audit'::regrole
     order by 1`,
  )
  expect(owned.map(({ name }) => name)).toEqual(definers)
  const [standing] = await superuser(
    `select r.rolsuper or r.rolbypassrls or r.rolcanlogin or r.rolcreaterole as privileged,
       has_schema_privilege(r.oid, 'public', 'create') as creates
     from pg_roles r where r.rolname = 'vaultterm_audit'`,
  )
  expect(standing).toEqual({ privileged: false, creates: false })
  // A superuser, as whom another test migrates, needs no membership.
  const members = await superuser<{ name: string }>(
    `select m.member::regrole::text as name from pg_auth_members m
     where m.roleid = 'vaultterm_audit'::regrole
       and not (select r.rolsuper from pg_roles r where r.oid = m.member)`,
  )
  expect(new Set(members.map(({ name }) => name))).toEqual(new Set(['vaultterm_test_owner']))
})

test('lets the application read its log, append, and keep checkpoints, each by the door', async () => {
  const granted = await superuser<{ line: string }>(
    `select role || ': ' || p.privilege || ' ' || c.relname as line
     from unnest(array['vaultterm_app', 'vaultterm_bastion', 'vaultterm_system',
         'vaultterm_directory']) as role,
       pg_class c, unnest(array['select', 'insert', 'update', 'references']) as p(privilege)
     where c.relnamespace = 'public'::regnamespace and c.relname like 'audit%' and c.relkind = 'r'
       and has_any_column_privilege(role, c.oid, p.privilege)
     union all
     select role || ': ' || p.privilege || ' ' || c.relname
     from unnest(array['vaultterm_app', 'vaultterm_bastion', 'vaultterm_system',
         'vaultterm_directory']) as role,
       pg_class c, unnest(array['delete', 'truncate', 'trigger']) as p(privilege)
     where c.relnamespace = 'public'::regnamespace and c.relname like 'audit%' and c.relkind = 'r'
       and has_table_privilege(role, c.oid, p.privilege)
     union all
     select role || ': execute ' || p.proname
     from unnest(array['vaultterm_app', 'vaultterm_bastion', 'vaultterm_system',
         'vaultterm_directory']) as role,
       pg_proc p
     where p.pronamespace = 'public'::regnamespace and p.proname like 'audit%'
       and p.prorettype <> 'trigger'::regtype and has_function_privilege(role, p.oid, 'execute')`,
  )
  expect(granted.map(({ line }) => line).toSorted()).toEqual([
    'vaultterm_app: execute audit_append',
    'vaultterm_app: execute audit_lock',
    'vaultterm_app: execute audit_publish',
    'vaultterm_app: select audit_checkpoint',
    'vaultterm_app: select audit_leaf',
    'vaultterm_app: select audit_private',
    'vaultterm_app: select audit_tree',
    'vaultterm_system: select audit_unsigned',
  ])
})

test('has no view that looks with the rights of its owner', async () => {
  const found = await superuser(
    `select c.relname from pg_class c
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('v', 'm')
       and not coalesce(c.reloptions @> array['security_invoker=true'], false)`,
  )
  expect(found).toEqual([])
})

test('lets the bastion’s own role do nothing', async () => {
  const found = await superuser<{ table: string; privilege: string }>(
    `select c.relname as table, p.privilege
     from pg_class c, unnest(array['select', 'insert', 'update', 'references']) as p(privilege)
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
       and has_any_column_privilege('vaultterm_bastion', c.oid, p.privilege)
     union all
     select c.relname, p.privilege
     from pg_class c, unnest(array['delete', 'truncate', 'trigger']) as p(privilege)
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
       and has_table_privilege('vaultterm_bastion', c.oid, p.privilege)`,
  )
  // It finds a tenant in the directory's role: a line here is a decision.
  expect(found.map(({ table, privilege }) => `${privilege} ${table}`).toSorted()).toEqual([])
})

test('lets the directory read three columns, and nothing else be done', async () => {
  const found = await superuser(
    `select c.relname as table, a.attname as column
     from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
       and has_column_privilege('vaultterm_directory', c.oid, a.attnum, 'select, insert, update')
     order by 1, 2`,
  )
  expect(found).toEqual([
    { table: 'tenant', column: 'slug' },
    { table: 'tenant', column: 'suspended_at' },
    { table: 'tenant', column: 'tenant_id' },
  ])
})

test('gives no table to everybody, and no serving role what would undo a table', async () => {
  const found = await superuser(
    `select c.relname as table, g.grantee, g.privilege_type as privilege
     from pg_class c, aclexplode(c.relacl) g
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
       and (g.grantee = 0 or (g.privilege_type in ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN')
         and g.grantee <> c.relowner))`,
  )
  expect(found).toEqual([])
})

test('lets no row point at a row of another tenant', async () => {
  const found = await superuser(
    `select k.conrelid::regclass::text as table, k.conname as constraint
     from pg_constraint k
     where k.contype = 'f' and k.connamespace = 'public'::regnamespace
       and exists (select from pg_attribute a
         where a.attrelid = k.confrelid and a.attname = 'tenant_id')
       and not exists (
         select from unnest(k.conkey, k.confkey) as pair(here, there)
         join pg_attribute h on h.attrelid = k.conrelid and h.attnum = pair.here
         join pg_attribute t on t.attrelid = k.confrelid and t.attnum = pair.there
         where h.attname = 'tenant_id' and t.attname = 'tenant_id')`,
  )
  expect(found).toEqual([])
})

test('makes no name unique over all tenants, so that none shows what another has', async () => {
  const found = await superuser<{ name: string }>(
    `select i.indexrelid::regclass::text as name from pg_index i
     join pg_class c on c.oid = i.indrelid and c.relnamespace = 'public'::regnamespace
     where i.indisunique and c.relname = any($1)
       and not exists (select from pg_attribute a
         where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnum = any(i.indkey))
     order by 1`,
    [tenantTables],
  )
  // A slug is what people type before we know their tenant; an origin is random and ours.
  expect(found.map(({ name }) => name)).toEqual(['audit_tree_origin_key', 'tenant_slug_key'])
})
