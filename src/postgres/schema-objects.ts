import { createHash } from 'node:crypto'
import { migratedObjects } from './migrated-objects.ts'
import type { ReadTx } from './transaction.ts'

/** Whatever decides what a statement of ours does and who may run it, by its kind and name. */
export interface SchemaObject {
  readonly name: string
  readonly digest: string
}

export interface SchemaChanges {
  /**
   * Functions, triggers, policies, rules and row security, what our roles may do besides, and whatever else
   * runs a function within a statement of ours: an act may leave no trace, or reach another tenant.
   */
  readonly acts: readonly string[]
  /**
   * Columns, privileges, constraints that are gone, and what the login of the connection may do besides:
   * the database is laxer or stricter than it was.
   */
  readonly others: readonly string[]
  /** Migrations of a newer program: then nothing was compared. */
  readonly unknown: readonly string[]
}

const digestLength = 32
/** The digest of each object that the migrations make, by its name. */
const expected: ReadonlyMap<string, string> = new Map(
  migratedObjects
    .trim()
    .split('\n')
    .map((line) => [line.slice(digestLength + 1), line.slice(0, digestLength)]),
)

/** What the migrations make: an operator's own tables and functions stand beside them. */
interface Ours {
  readonly tables: readonly string[]
  readonly functions: readonly string[]
}

const ours: Ours = {
  tables: namesOf(/^table (.*)$/),
  functions: namesOf(/^function ([^(]*)/),
}

/**
 * The schema as the catalogue describes it, without ids, and without the names of an installation's
 * own roles; only of these tables and functions, where they are given. An operator's plain index is not
 * part of it, nor is a grant to a role that is not ours. To be called last in a transaction.
 */
export async function listSchemaObjects(tx: ReadTx, only?: Ours): Promise<SchemaObject[]> {
  // Shows by its schema what is not the server's own: a check that calls another length() differs.
  await tx.one("select set_config('search_path', 'pg_catalog', true)")
  const found = await tx.many<{ name: string; text: string }>(objects, [
    only?.tables ?? null,
    only?.functions ?? null,
  ])
  return found
    .map(({ name, text }) => ({ name, digest: digestOf(text) }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** Compares the schema with the one that the migrations make. */
export async function findSchemaChanges(tx: ReadTx): Promise<SchemaChanges> {
  const found = await listSchemaObjects(tx, ours)
  const unknown = found.filter(({ name }) => name.startsWith('migration ') && !expected.has(name))
  if (unknown.length > 0) {
    return { acts: [], others: [], unknown: unknown.map(({ name }) => name) }
  }
  const digests = new Map(found.map(({ name, digest }) => [name, digest]))
  const lost = [...expected.keys()].filter((name) => !digests.has(name))
  const changed = found
    .filter(({ name, digest }) => expected.get(name) !== digest)
    .map(({ name }) => name)
  return {
    acts: [...lost.filter(decides), ...changed.filter((name) => decides(name) || computes(name))],
    others: [...lost.filter((name) => !decides(name)), ...changed.filter(isOther)],
    unknown: [],
  }
}

const isOther = (name: string) => /^(table|login) /.test(name)
/** It may run a function in each statement on its table. One that is gone runs nothing. */
const computes = (name: string) => /^(constraint|index|unique index) /.test(name)
const decides = (name: string) =>
  !isOther(name) && !computes(name) && !name.startsWith('migration ')

/** One line of the committed list. */
export function lineOf({ name, digest }: SchemaObject): string {
  return `${digest} ${name}`
}

function namesOf(what: RegExp): string[] {
  const names = [...expected.keys()].map((name) => what.exec(name)?.[1])
  return [...new Set(names.filter((name) => name !== undefined))]
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digestLength)
}

/**
 * The owner of the tables is one installation's `local_owner` and another one's `postgres`. Texts of
 * programs are taken as they were written: what a server makes of them differs with its version.
 */
const objects = `
  with owner as (select relowner as id from pg_class where oid = 'public.schema_migration'::regclass),
  role as (
    select r.oid as id, case when r.oid = o.id then 'owner' else r.rolname end as name,
        r.oid = o.id or r.rolname in ('vaultterm_app', 'vaultterm_audit', 'vaultterm_bastion',
          'vaultterm_directory', 'vaultterm_jobs', 'vaultterm_system') as ours
      from pg_roles r, owner o
    union all select 0, 'public', true),
  -- Of the queue's own tables only those whose names do not hold a day.
  own as (
    select c.*, n.shown from pg_class c
      join lateral (
        select case when nspname = 'public' then format('%I', c.relname)
            else format('%I.%I', nspname, c.relname) end as shown
          from pg_namespace where oid = c.relnamespace
            and (nspname = 'public' or nspname = 'pgboss' and not starts_with(c.relname, 'queue_stats'))) n on true
      where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and ($1::text[] is null or n.shown = any($1))),
  key_function as (
    select oid, proname from pg_proc
      where pronamespace = 'pg_catalog'::regnamespace and starts_with(proname, 'RI_FKey_'))
  select 'migration ' || name as name, '' as text from public.schema_migration
  union all
  -- Our roles may do nothing but what is granted to them here.
  select 'role ' || r.rolname || ' with ' || concat_ws(', ', case when rolsuper then 'superuser' end,
      case when rolbypassrls then 'bypassrls' end, case when rolcreaterole then 'createrole' end,
      case when rolreplication then 'replication' end,
      case when rolcanlogin and rolname = 'vaultterm_audit' then 'login' end), ''
    from pg_roles r join role on role.id = r.oid, owner
    where role.ours and r.oid <> owner.id and (rolsuper or rolbypassrls or rolcreaterole
      or rolreplication or rolcanlogin and rolname = 'vaultterm_audit')
  union all
  select 'role ' || r.name || ' as a member of ' || g.rolname, ''
    from pg_auth_members m join role r on r.id = m.member join pg_roles g on g.oid = m.roleid, owner
    where r.ours and r.id <> owner.id
  union all
  -- A login that owns the tables may do all of this anyway.
  select 'login ' || l.rolname || ' as a member of ' || g.rolname, ''
    from pg_roles l, pg_roles g, owner
    where l.rolname = session_user and not l.rolsuper and not pg_has_role(l.oid, owner.id, 'member')
      and (g.rolname in ('vaultterm_audit', 'pg_execute_server_program') or g.rolname like 'pg\\_%\\_data'
        or g.rolname like 'pg\\_%\\_server\\_files') and pg_has_role(l.oid, g.oid, 'member')
  union all
  select 'login ' || l.rolname || ' with ' || concat_ws(', ', case when rolbypassrls then 'bypassrls' end,
      case when rolcreaterole then 'createrole' end, case when rolreplication then 'replication' end), ''
    from pg_roles l, owner
    where l.rolname = session_user and not l.rolsuper and not pg_has_role(l.oid, owner.id, 'member')
      and (rolbypassrls or rolcreaterole or rolreplication)
  union all
  select 'function ' || n.shown || '(' || pg_get_function_identity_arguments(p.oid) || ')',
      jsonb_build_array(p.prosrc, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
        l.lanname, p.prokind, p.prosecdef, p.proleakproof, p.proisstrict, p.provolatile, p.proparallel,
        p.proconfig, p.probin, p.prosqlbody is null, (select r.name from role r where r.id = p.proowner),
        (select jsonb_agg(distinct r.name || ' ' || a.privilege_type)
          from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            join role r on r.id = a.grantee and r.ours))::text
    from pg_proc p join pg_language l on l.oid = p.prolang
      join lateral (
        select case when nspname = 'public' then '' else nspname || '.' end || p.proname as shown
          from pg_namespace where oid = p.pronamespace and nspname in ('public', 'pgboss')) n on true
    -- One with a name of ours could be called in place of ours.
    where ($2::text[] is null or n.shown = any($2))
  union all
  -- It runs when a statement that calls the function is planned.
  select 'support of function ' || p.oid::regprocedure, ''
    from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prosupport <> 0
      and ($2::text[] is null or p.proname = any($2))
  union all
  select 'trigger ' || t.tgname || ' on ' || c.shown,
      jsonb_build_array(t.tgtype, t.tgenabled, pg_get_triggerdef(t.oid))::text
    from pg_trigger t join own c on c.oid = t.tgrelid
    -- Not what a trigger says of itself.
    where t.tgconstraint = 0 or t.tgfoid not in (select oid from key_function)
  union all
  -- Those of foreign keys have names with ids. An operator's table may have a key to one of ours.
  select 'trigger of keys on ' || c.shown,
      jsonb_agg(jsonb_build_array(n.conname, f.proname, t.tgtype, t.tgenabled)
        order by n.conname, f.proname, t.tgtype, t.tgenabled)::text
    from pg_trigger t join own c on c.oid = t.tgrelid join key_function f on f.oid = t.tgfoid
      left join pg_constraint n on n.oid = t.tgconstraint
    where t.tgconstraint <> 0 and (n.oid is null or n.conrelid in (select oid from own))
    group by c.shown
  union all
  -- This one changes rows of that table, whose triggers then run.
  select 'key ' || n.conname || ' of ' || n.conrelid::regclass || ' to ' || c.shown, ''
    from pg_constraint n join own c on c.oid = n.confrelid
    where n.conrelid not in (select oid from own)
      and (n.confdeltype in ('c', 'n', 'd') or n.confupdtype in ('c', 'n', 'd'))
  union all
  select 'child ' || i.inhrelid::regclass || ' of ' || i.inhparent::regclass, ''
    from pg_inherits i where (select count(*) from own where oid in (i.inhrelid, i.inhparent)) > 0
  union all
  select 'event trigger ' || evtname, '' from pg_event_trigger where evtevent = 'login' and evtenabled <> 'D'
  union all
  select 'policy ' || p.polname || ' on ' || c.shown,
      jsonb_build_array(p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
        pg_get_expr(p.polwithcheck, p.polrelid),
        (select jsonb_agg(r.name order by r.name) from role r where r.id = any(p.polroles)))::text
    from pg_policy p join own c on c.oid = p.polrelid
  union all
  select 'rule ' || r.rulename || ' on ' || c.shown, 'a rule'
    from pg_rewrite r join own c on c.oid = r.ev_class where c.relkind in ('r', 'p')
  union all
  select 'row security on ' || shown, jsonb_build_array(relrowsecurity, relforcerowsecurity)::text from own
    where relkind in ('r', 'p')
  union all
  select 'table ' || c.shown,
      jsonb_build_array(c.relkind, c.relpersistence, (select r.name from role r where r.id = c.relowner),
        (select jsonb_agg(r.name || ' ' || a.privilege_type || ' ' || a.is_grantable
            order by r.name, a.privilege_type)
          from aclexplode(c.relacl) a join role r on r.id = a.grantee and r.ours and r.id <> c.relowner),
        (select jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attidentity,
            (select jsonb_agg(r.name || ' ' || g.privilege_type order by r.name, g.privilege_type)
              from aclexplode(a.attacl) g join role r on r.id = g.grantee and r.ours)) order by a.attname)
          from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped))::text
    from own c
  union all
  select 'default of ' || a.attname || ' on ' || c.shown,
      jsonb_build_array(a.attgenerated, pg_get_expr(d.adbin, d.adrelid))::text
    from pg_attrdef d join own c on c.oid = d.adrelid
      join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
  union all
  -- A domain has checks, and a type has functions that read it.
  select 'type of ' || a.attname || ' on ' || c.shown, ''
    from pg_attribute a join own c on c.oid = a.attrelid join pg_type t on t.oid = a.atttypid
    where a.attnum > 0 and not a.attisdropped
      and (t.typtype <> 'b' or t.typnamespace <> 'pg_catalog'::regnamespace)
  union all
  -- By another one, other texts are equal.
  select 'collation of ' || a.attname || ' on ' || c.shown, a.attcollation::regcollation::text
    from pg_attribute a join own c on c.oid = a.attrelid join pg_type t on t.oid = a.atttypid
    where a.attnum > 0 and not a.attisdropped and a.attcollation <> t.typcollation
  union all
  -- Since version 18 there are constraints for "not null" too. An operator may validate one.
  select 'constraint ' || n.conname || ' on ' || c.shown,
      regexp_replace(pg_get_constraintdef(n.oid), ' NOT VALID$', '')
    from pg_constraint n join own c on c.oid = n.conrelid where n.contype <> 'n'
  union all
  -- Those that compute something, by that: a copy of one that is being built anew has another name.
  select distinct shown, text from (
    select case when i.indisunique then 'unique ' else '' end || 'index on ' || c.shown
          || coalesce(' by ' || left(e.by, 100), '') || coalesce(' where ' || left(e.condition, 100), '') as shown,
        jsonb_build_array(e.by, e.condition, e.classes)::text as text
      from pg_index i join own c on c.oid = i.indrelid,
        lateral (select pg_get_expr(i.indexprs, i.indrelid) as by, pg_get_expr(i.indpred, i.indrelid) as condition,
          (select jsonb_agg(distinct o.opcname) from pg_opclass o where o.oid = any(i.indclass)
            and o.opcnamespace <> 'pg_catalog'::regnamespace) as classes) e
      where num_nonnulls(e.by, e.condition, e.classes) > 0) computed`
