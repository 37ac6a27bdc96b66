import { createHash } from 'node:crypto'
import { migratedObjects } from './migrated-objects.ts'
import type { ReadTx } from './transaction.ts'

/** Whatever decides what a statement of ours does and who may run it, by its kind and name. */
export interface SchemaObject {
  readonly name: string
  readonly digest: string
}

export interface SchemaChanges {
  /** Functions, triggers, policies, rules and row security: an act may leave no trace, or reach another tenant. */
  readonly acts: readonly string[]
  /** Columns, constraints and privileges: the database is laxer or stricter than it was. */
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
 * part of it, nor is a grant to a role that is not ours.
 */
export async function listSchemaObjects(tx: ReadTx, only?: Ours): Promise<SchemaObject[]> {
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
  const differing = found.filter(({ name, digest }) => {
    return expected.get(name) !== digest
  })
  const changed = [...lost, ...differing.map(({ name }) => name)].toSorted()
  const isAct = (name: string) => /^(function|trigger|policy|rule|row security) /.test(name)
  return {
    acts: changed.filter(isAct),
    others: changed.filter((name) => !isAct(name)),
    unknown: [],
  }
}

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
          'vaultterm_directory', 'vaultterm_system') as ours
      from pg_roles r, owner o
    union all select 0, 'public', true),
  own as (
    select c.*, format('%I', c.relname) as shown from pg_class c
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        and ($1::text[] is null or c.relname = any($1)))
  select 'migration ' || name as name, '' as text from public.schema_migration
  union all
  select 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
      jsonb_build_array(p.prosrc, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
        l.lanname, p.prokind, p.prosecdef, p.proleakproof, p.proisstrict, p.provolatile, p.proparallel,
        p.proconfig, p.probin, p.prosqlbody is null, (select r.name from role r where r.id = p.proowner),
        (select jsonb_agg(distinct r.name || ' ' || a.privilege_type)
          from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            join role r on r.id = a.grantee and r.ours))::text
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'public'::regnamespace
      -- One with a name of ours could be called in place of ours.
      and ($2::text[] is null or p.proname = any($2))
  union all
  select 'trigger ' || t.tgname || ' on ' || c.shown,
      jsonb_build_array(t.tgtype, t.tgenabled, pg_get_triggerdef(t.oid))::text
    from pg_trigger t join own c on c.oid = t.tgrelid where not t.tgisinternal
  union all
  -- Those of foreign keys have names with ids, and are disabled all together.
  select 'trigger of keys on ' || c.shown, 'disabled'
    from own c where exists (
      select from pg_trigger t where t.tgrelid = c.oid and t.tgisinternal and t.tgenabled <> 'O')
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
            a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid),
            (select jsonb_agg(r.name || ' ' || g.privilege_type order by r.name, g.privilege_type)
              from aclexplode(a.attacl) g join role r on r.id = g.grantee and r.ours)) order by a.attname)
          from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped))::text
    from own c
  union all
  -- Since version 18 there are constraints for "not null" too.
  select 'constraint ' || n.conname || ' on ' || c.shown, pg_get_constraintdef(n.oid)
    from pg_constraint n join own c on c.oid = n.conrelid where n.contype <> 'n'`
