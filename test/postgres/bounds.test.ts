import { expect, test } from 'vitest'
import { openTestDatabase } from '../support/postgres.ts'

/**
 * No column takes a value without a bound: one that is huge, or no time or number for us, makes everybody
 * fail who reads it, and the application's login may write most of them. A new column needs a constraint,
 * or a line here.
 */
const { superuser } = await openTestDatabase()

/** Columns without a bound, and why. */
const exceptions: Readonly<Record<string, string>> = {
  'schema_migration.name': 'only the owner migrates',
  'schema_migration.checksum': 'only the owner migrates',
  'schema_migration.applied_at': 'only the owner migrates',
  'audit_tree.hashes': 'only audit_grow() makes them, each with 32 bytes',
  'audit_tree.origin': 'only the door writes it',
  'audit_tree.thinned_at': 'only the door writes it',
  'audit_unsigned.since': 'only the door writes it',
  'audit_checkpoint.created_at': 'only the door writes it',
  'audit_private.payload': 'only the door writes it: audit_append() refuses a longer one',
  'audit_leaf.leaf_index': 'read as the largest number that we hold',
  'audit_checkpoint.size': 'read as the largest number that we hold',
  'audit_tree.size': 'read as the largest number that we hold',
  'audit_tree.first_leaf': 'read as the largest number that we hold',
  'audit_tree.signed_size': 'never read',
  'certificate_authority.last_serial': 'read as text',
  'session.certificate_serial': 'read as text',
}

interface Column {
  readonly table: string
  readonly name: string
  readonly type: string
  /** The other columns of its table, quoted. */
  readonly others: readonly string[]
  /** The conditions of the constraints that speak of it. */
  readonly checks: readonly string[]
}

const columns = await superuser<Column>(
  `select c.relname as table, c.relname || '.' || a.attname as name,
     format_type(a.atttypid, null) as type,
     array(select quote_ident(o.attname) from pg_attribute o
       where o.attrelid = c.oid and o.attnum > 0 and o.attnum <> a.attnum and not o.attisdropped) as others,
     array(select pg_get_expr(k.conbin, k.conrelid) from pg_constraint k
       where k.conrelid = c.oid and k.contype = 'c' and a.attnum = any (k.conkey)) as checks
   from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
   where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'f')
     and not a.attisdropped and a.attgenerated = '' order by 2`,
)

/** Types whose every value our readers take. */
const harmless = ['boolean', 'integer', 'uuid']

/** Values that nothing of ours writes, by type, as expressions. */
const strange: Readonly<Record<string, readonly string[]>> = {
  text: ["repeat('a', 1048576)"],
  bytea: ["convert_to(repeat('a', 1048576), 'UTF8')"],
  'text[]': [
    "array[repeat('a', 1048576)]",
    "array_fill('a'::text, array[10000])",
    // One of the few words of an enumeration.
    "array_fill('shell'::text, array[10000])",
  ],
  'bytea[]': [
    "array[convert_to(repeat('a', 1048576), 'UTF8')]",
    "array_fill('\\x00'::bytea, array[10000])",
  ],
  bigint: ['9007199254740993'],
  'timestamp with time zone': [
    "'infinity'",
    "'-infinity'",
    "'200000-01-01'",
    "'10000-01-01'",
    "'0044-03-15 BC'",
  ],
}

/** Of the strange values of a column, those that its table takes. */
async function taken({ table, name, type, others, checks }: Column): Promise<string[]> {
  const refused = checks.map((check) => `(${check}) is false`).join(' or ') || 'false'
  const column = name.slice(table.length + 1)
  // The other columns of such a row are null: of those, a condition says nothing.
  const rows = (strange[type] ?? ['null']).map(
    (value, at) =>
      `select ${at} as place, ${[...others, `(${value})::${type} as ${column}`].join(', ')}
       from (select (null::${table}).*) empty`,
  )
  const found = await superuser<{ place: number }>(
    `select place from (${rows.join(' union all ')}) as ${table} where not (${refused})`,
  )
  return found.map(({ place }) => `${name} = ${strange[type]?.[place] ?? `a ${type}`}`)
}

test('attack: no column takes a value that makes its readers fail', async () => {
  const all: string[] = []
  for (const column of columns) {
    if (harmless.includes(column.type) || exceptions[column.name] !== undefined) continue
    all.push(...(await taken(column)))
  }
  expect(all).toEqual([])
  expect(columns.length).toBeGreaterThan(100)
  const names = columns.map(({ name }) => name)
  expect(Object.keys(exceptions).filter((name) => !names.includes(name))).toEqual([])
})
