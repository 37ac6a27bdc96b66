import type { Database } from './database.ts'
import { SchemaAhead, SchemaBehind, SchemaChanged } from './errors.ts'
import { type MigrationFile, readMigrations } from './migration-file.ts'
import { findSchemaChanges, type SchemaChanges } from './schema-objects.ts'

/** The state of a database's schema, compared with this program. */
export interface SchemaState {
  readonly state: 'current' | 'behind' | 'ahead'
  /** The last migration applied; undefined before the first. */
  readonly version: string | undefined
  /** Known here and not applied. */
  readonly missing: readonly string[]
  /** Applied, not known here, and marked as breaking. */
  readonly unknown: readonly string[]
}

export interface AppliedMigration {
  readonly name: string
  readonly checksum: string
  readonly breaking: boolean
}

/** Compares the migrations that a database had with those that this program knows. */
export async function schemaState(database: Database, directory: string): Promise<SchemaState> {
  const files = await readMigrations(directory)
  const applied = await database.system((tx) =>
    tx.many<AppliedMigration>(
      'select name, checksum, breaking from schema_migration order by name',
    ),
  )
  return compareSchema(files, applied)
}

/** Throws SchemaBehind or SchemaAhead unless this program can work with the database. */
export async function requireSchema(database: Database, directory: string): Promise<SchemaState> {
  const found = await schemaState(database, directory)
  if (found.state === 'behind') throw new SchemaBehind(found.missing)
  if (found.state === 'ahead') throw new SchemaAhead(found.unknown)
  return found
}

/**
 * Throws SchemaChanged when a function, trigger, policy or rule is not as the migrations make it. A
 * superuser can change it, and change it back: this finds what is left behind.
 */
export async function requireUnchanged(database: Database): Promise<SchemaChanges> {
  const found = await database.system(findSchemaChanges)
  if (found.acts.length > 0) throw new SchemaChanged(found.acts)
  return found
}

/** A newer schema is no obstacle as long as none of its steps is marked as breaking. */
export function compareSchema(
  files: readonly MigrationFile[],
  applied: readonly AppliedMigration[],
): SchemaState {
  const known = new Set(files.map(({ name }) => name))
  const done = new Set(applied.map(({ name }) => name))
  const missing = files.filter(({ name }) => !done.has(name)).map(({ name }) => name)
  const unknown = applied
    .filter(({ name, breaking }) => breaking && !known.has(name))
    .map(({ name }) => name)
  const state = unknown.length > 0 ? 'ahead' : missing.length > 0 ? 'behind' : 'current'
  return { state, version: applied.at(-1)?.name, missing, unknown }
}
