import pg from 'pg'
import { expect, test } from 'vitest'
import { queueTables } from '../../src/jobs/index.ts'
import { createMetrics } from '../../src/metrics.ts'
import {
  findSchemaChanges,
  migrate,
  type ReadTx,
  requireUnchanged,
} from '../../src/postgres/index.ts'
import { lineOf, listSchemaObjects } from '../../src/postgres/schema-objects.ts'
import { openProduct } from '../../src/product.ts'
import { Secret } from '../../src/secret.ts'
import { openEmptyDatabase, openTestDatabase, silent } from '../support/postgres.ts'

const fixture = await openTestDatabase()
const look = () => fixture.app.system(findSchemaChanges)

/** A migration changes what is expected: `bin/run test test/postgres/schema-objects.test.ts -u`. */
test('knows what the migrations make', async () => {
  const lines = (await fixture.app.system(listSchemaObjects)).map(lineOf)
  await expect(`/**
 * What the migrations make of an empty database: digest and name of each thing in it.
 * Written by test/postgres/schema-objects.test.ts -u.
 */
export const migratedObjects = \`
${lines.join('\n')}
\`
`).toMatchFileSnapshot('../../src/postgres/migrated-objects.ts')
  expect(await look()).toEqual({ acts: [], others: [], unknown: [] })
})

test('finds the same where a superuser owns the tables', async () => {
  const { name } = await openEmptyDatabase()
  const server = new URL(fixture.superuserUrl)
  server.pathname = `/${name}`
  const url = new Secret(server.href)
  await migrate({ url, directory: 'migrations', sources: [queueTables], log: silent })
  const own = new URL(fixture.urls.app.reveal())
  own.pathname = `/${name}`
  await using database = fixture.open('vaultterm_app', {}, own.href)
  expect(await database.system(findSchemaChanges)).toEqual({ acts: [], others: [], unknown: [] })
})

/** Each hides acts or opens a tenant: what a superuser does, and the name that tells it. */
const attacks: readonly [what: string, change: string, undo: string, told: RegExp][] = [
  [
    'a trigger that keeps leaves out',
    `create function quiet() returns trigger language plpgsql as 'begin return null; end';
     create trigger quiet before insert on audit_leaf for each row execute function quiet()`,
    'drop trigger quiet on audit_leaf; drop function quiet()',
    /^trigger quiet on audit_leaf$/,
  ],
  [
    'a rule in place of an insert',
    'create rule quiet as on insert to audit_private do instead nothing',
    'drop rule quiet on audit_private',
    /^rule quiet on audit_private$/,
  ],
  [
    'a trigger that is off',
    'alter table session disable trigger keep_end',
    'alter table session enable trigger keep_end',
    /^trigger keep_end on session$/,
  ],
  [
    'keys that are off',
    'alter table audit_private disable trigger all',
    'alter table audit_private enable trigger all',
    /^trigger of keys on audit_private$/,
  ],
  [
    'one more policy',
    'create policy all_of_it on session using (true)',
    'drop policy all_of_it on session',
    /^policy all_of_it on session$/,
  ],
  [
    'a policy with another condition',
    'alter policy own on session using (true)',
    'alter policy own on session using (tenant_id = app_tenant_id())',
    /^policy own on session$/,
  ],
  [
    'row security that is off',
    'alter table session no force row level security',
    'alter table session force row level security',
    /^row security on session$/,
  ],
  [
    'one more policy on the queue',
    'create policy all_of_it on pgboss.job_common using (true)',
    'drop policy all_of_it on pgboss.job_common',
    /^policy all_of_it on pgboss\.job_common$/,
  ],
  [
    'row security of the queue that is off',
    'alter table pgboss.job no force row level security',
    'alter table pgboss.job force row level security',
    /^row security on pgboss\.job$/,
  ],
  [
    'a partition of the queue without a policy',
    "create table pgboss.own partition of pgboss.job for values in ('own')",
    'drop table pgboss.own',
    /^child pgboss\.own of pgboss\.job$/,
  ],
  [
    'a clock of the queue that each act would run',
    `create or replace function pgboss.job_now() returns timestamptz language sql stable as
       'select now() - interval ''1 day'''`,
    `create or replace function pgboss.job_now() returns timestamptz as
    $$
      SELECT pg_catalog.now();
    $$
    language sql stable`,
    /^function pgboss\.job_now\(\)$/,
  ],
  [
    'a function that runs for its caller',
    'alter function audit_lock() security invoker',
    'alter function audit_lock() security definer',
    /^function audit_lock\(\)$/,
  ],
  [
    'a function with other arguments and a name of ours',
    "create function audit_lock(text) returns void language sql as 'select'",
    'drop function audit_lock(text)',
    /^function audit_lock\(text\)$/,
  ],
  [
    'an index that runs a function',
    `create function own_rank(bigint) returns int language plpgsql immutable as 'begin return 0; end';
     create index own_index on audit_leaf (own_rank(leaf_index))`,
    'drop index own_index; drop function own_rank',
    /^index on audit_leaf by public\.own_rank\(leaf_index\)$/,
  ],
  [
    'an index of some rows, by a function',
    `create function own_wish(uuid) returns boolean language sql immutable as 'select true';
     create index own_index on audit_tree (size) where own_wish(tenant_id)`,
    'drop index own_index; drop function own_wish',
    /^index on audit_tree where public\.own_wish\(tenant_id\)$/,
  ],
  [
    'an index in an order of somebody’s own',
    `create function own_order(int8, int8) returns int language sql immutable as 'select 0';
     create operator class own_class for type int8 using btree as operator 1 <, operator 2 <=,
       operator 3 =, operator 4 >=, operator 5 >, function 1 own_order(int8, int8);
     create index own_index on audit_leaf (leaf_index own_class)`,
    'drop index own_index; drop operator family own_class using btree; drop function own_order',
    /^index on audit_leaf$/,
  ],
  [
    'one more check',
    `create function own_check(bytea) returns boolean language sql as 'select true';
     alter table audit_leaf add constraint own_check check (own_check(leaf)) not valid`,
    'alter table audit_leaf drop constraint own_check; drop function own_check',
    /^constraint own_check on audit_leaf$/,
  ],
  [
    'a check that calls another function of the same name',
    `create function cardinality(bytea[]) returns int language sql as 'select 0';
     alter table audit_checkpoint drop constraint audit_checkpoint_hashes_bound;
     alter table audit_checkpoint add constraint audit_checkpoint_hashes_bound
       check (cardinality(hashes) <= 63 and octet_length(array_to_string(hashes, '')) <= 8192)`,
    `alter table audit_checkpoint drop constraint audit_checkpoint_hashes_bound;
     drop function cardinality(bytea[]);
     alter table audit_checkpoint add constraint audit_checkpoint_hashes_bound
       check (cardinality(hashes) <= 63 and octet_length(array_to_string(hashes, '')) <= 8192)`,
    /^constraint audit_checkpoint_hashes_bound on audit_checkpoint$/,
  ],
  [
    'a default that runs a function',
    `create function own_time() returns timestamptz language sql as 'select now()';
     alter table audit_unsigned alter since set default own_time()`,
    'alter table audit_unsigned alter since set default now(); drop function own_time',
    /^default of since on audit_unsigned$/,
  ],
  [
    'one more column, with a default',
    'alter table audit_tree add own_note text default current_user',
    'alter table audit_tree drop own_note',
    /^default of own_note on audit_tree$/,
  ],
  [
    'a column that is computed',
    `alter table audit_leaf add own_size int generated always as (octet_length(leaf)) stored`,
    'alter table audit_leaf drop own_size',
    /^default of own_size on audit_leaf$/,
  ],
  [
    'a type with a check',
    `create domain own_text as text check (length(value) >= 0);
     alter table audit_checkpoint alter note type own_text`,
    'alter table audit_checkpoint alter note type text; drop domain own_text',
    /^type of note on audit_checkpoint$/,
  ],
  [
    'another table that changes with ours',
    `create table own_keys (id int, tenant uuid references tenant on delete cascade)`,
    'drop table own_keys',
    /^key own_keys_tenant_fkey of public\.own_keys to tenant$/,
  ],
  [
    'a table whose rows are seen in ours',
    'create table own_session () inherits (session)',
    'drop table own_session',
    /^child public\.own_session of public\.session$/,
  ],
  [
    'a trigger that says of itself that it is internal',
    `create function quiet() returns trigger language plpgsql as 'begin return null; end';
     create trigger quiet before insert on audit_leaf for each row execute function quiet();
     set allow_system_table_mods = on;
     update pg_trigger set tgisinternal = true where tgname = 'quiet'`,
    `set allow_system_table_mods = on;
     update pg_trigger set tgisinternal = false where tgname = 'quiet';
     drop trigger quiet on audit_leaf; drop function quiet()`,
    /^trigger quiet on audit_leaf$/,
  ],
  [
    'a trigger that says that it is of a key',
    `create function quiet() returns trigger language plpgsql as 'begin return null; end';
     create trigger quiet before insert on audit_leaf for each row execute function quiet();
     set allow_system_table_mods = on;
     update pg_trigger set tgisinternal = true, tgconstraint =
       (select oid from pg_constraint where conname = 'audit_leaf_tenant_id_fkey') where tgname = 'quiet'`,
    `set allow_system_table_mods = on;
     update pg_trigger set tgisinternal = false, tgconstraint = 0 where tgname = 'quiet';
     drop trigger quiet on audit_leaf; drop function quiet()`,
    /^trigger quiet on audit_leaf$/,
  ],
  [
    'a column whose texts are equal in another way',
    'alter table audit_checkpoint alter note type text collate "C"',
    'alter table audit_checkpoint alter note type text collate "default"',
    /^collation of note on audit_checkpoint$/,
  ],
  [
    'a function that another one plans',
    'alter function audit_lock() support generate_series_int4_support',
    "update pg_proc set prosupport = 0 where proname = 'audit_lock'",
    /^support of function public\.audit_lock\(\)$/,
  ],
  [
    'a function that runs at each login',
    `create function own_login() returns event_trigger language plpgsql as 'begin return; end';
     create event trigger own_login on login execute function own_login()`,
    'drop event trigger own_login; drop function own_login',
    /^event trigger own_login$/,
  ],
]

/** What is found with a change of roles, which belong to all databases of the server: it is rolled back. */
async function lookAfter(change: string) {
  const client = new pg.Client({ connectionString: fixture.superuserUrl })
  await client.connect()
  const many: ReadTx['many'] = async (text, values = []) =>
    (await client.query(text, [...values])).rows
  const maybe: ReadTx['maybe'] = async (text, values) => (await many(text, values))[0] as never
  const tx: ReadTx = { many, maybe, one: maybe as ReadTx['one'], last: () => tx }
  try {
    const login = new URL(fixture.urls.app.reveal()).username
    await client.query(
      `begin; ${change}; set session authorization ${login}; set role vaultterm_system`,
    )
    return await findSchemaChanges(tx)
  } finally {
    await client.end()
  }
}

test.each([
  [
    'alter role vaultterm_audit bypassrls',
    { acts: ['role vaultterm_audit with bypassrls'], others: [] },
  ],
  [
    'grant vaultterm_audit to vaultterm_app',
    {
      acts: ['role vaultterm_app as a member of vaultterm_audit'],
      others: ['login vaultterm_test_app as a member of vaultterm_audit'],
    },
  ],
  [
    'grant pg_write_all_data to vaultterm_test_app',
    { acts: [], others: ['login vaultterm_test_app as a member of pg_write_all_data'] },
  ],
  [
    'alter role vaultterm_test_app createrole',
    { acts: [], others: ['login vaultterm_test_app with createrole'] },
  ],
  // The control.
  ['grant pg_monitor to vaultterm_test_app', { acts: [], others: [] }],
])('attack: names what a role of ours may do after %s', async (change, told) => {
  expect(await lookAfter(change)).toEqual({ ...told, unknown: [] })
})

test.each(attacks)('attack: finds %s by its name', async (_what, change, undo, told) => {
  await fixture.superuser(change)
  expect((await look()).acts).toContainEqual(expect.stringMatching(told))
  await fixture.superuser(undo)
  expect(await look()).toEqual({ acts: [], others: [], unknown: [] })
})

test('attack: names the door of the log when it lets some events fall', async () => {
  const [{ text } = { text: '' }] = await fixture.superuser<{ text: string }>(
    "select pg_get_functiondef('audit_append'::regproc) as text",
  )
  const changed = text.replace(/^begin$/m, 'begin\n if before is null then return 0; end if;')
  expect(changed).not.toBe(text)
  await fixture.superuser(changed)
  await expect(requireUnchanged(fixture.app)).rejects.toMatchObject({
    code: 'ERR_SCHEMA_CHANGED',
    message: expect.stringContaining('function audit_append('),
  })
  // Nor does a process start to serve there.
  const { urls: database } = fixture
  const start = openProduct(
    { database, redisUrl: undefined, kek: 'file:/nowhere', recordings: 'dir:/nowhere' },
    {
      log: silent,
      metrics: createMetrics(),
      egress: undefined,
      serve: { node: 'a-name', leaseMs: 60_000 },
    },
  )
  await expect(start).rejects.toMatchObject({ code: 'ERR_SCHEMA_CHANGED' })
  await fixture.superuser(text)
  await requireUnchanged(fixture.app)
})

test('attack: nothing that stands beside the tables of the migrations makes a node unready', async () => {
  // As PostGIS and the like make them, and tables of an operator's own.
  await fixture.superuser(`
    create table own_notes (id int primary key, note text unique default 'none' check (note <> ''));
    alter table own_notes enable row level security, force row level security;
    create policy all_of_it on own_notes using (true);
    create rule quiet as on delete to own_notes do instead nothing;
    create function own_touch() returns trigger language plpgsql as 'begin return new; end';
    create trigger touch before insert on own_notes for each row execute function own_touch();
    create table own_lines (note int references own_notes on delete cascade, at timestamptz);
    alter table own_lines disable trigger all;
    create index on own_lines (date(at at time zone 'UTC')) where note > 0;
    create table own_parts (id int, at date) partition by range (at);
    create table own_part partition of own_parts for values from ('2020-01-01') to ('2030-01-01');
    create view own_sessions as select id, started_at from session;
    create materialized view own_counts as select count(*) as many from own_lines;
    create sequence own_numbers;
    create type own_kind as enum ('a');
    create domain own_text as text check (value <> '');
    create function own_sum(own_kind, int) returns int language sql as 'select 1';
    create statistics on id, started_at from session`)
  await fixture.superuser('create extension pg_stat_statements')
  expect(await look()).toEqual({ acts: [], others: [], unknown: [] })
  await requireUnchanged(fixture.app)
})

test('tells of looser grants and lost constraints, and lets an operator’s own things be', async () => {
  await fixture.superuser('grant update on audit_leaf to vaultterm_app')
  await fixture.superuser('alter table app_user drop constraint app_user_role_check')
  expect(await look()).toMatchObject({
    acts: [],
    others: ['constraint app_user_role_check on app_user', 'table audit_leaf'],
  })
  await fixture.superuser('revoke update on audit_leaf from vaultterm_app')
  await fixture.superuser('create index of_the_operator on session (started_at)')
  await fixture.superuser(
    'create index of_live on session (started_at desc) where ended_at is null',
  )
  await fixture.superuser('alter table session validate constraint session_texts_bound')
  await fixture.superuser('create table of_the_operator_too (id int primary key)')
  await fixture.superuser('grant select on session to pg_monitor')
  await fixture.superuser("create function report() returns int language sql as 'select 1'")
  expect((await look()).others).toEqual(['constraint app_user_role_check on app_user'])
})

test('compares nothing with a newer schema, and says so', async () => {
  await fixture.superuser(
    "insert into schema_migration (name, checksum, breaking) values ('9999_newer', '', false)",
  )
  expect(await look()).toEqual({ acts: [], others: [], unknown: ['migration 9999_newer'] })
})
