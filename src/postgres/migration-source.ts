import { createHash } from 'node:crypto'
import { MigrationSourceDiffers } from './errors.ts'
import type { MigrationFile } from './migration-file.ts'

/** SQL that belongs to a package. A migration names it with its digest and does not copy it. */
export interface MigrationSource {
  /** The package and its version, as the migration names it. */
  readonly name: string
  /** The statements, without a transaction of their own. */
  read(): Promise<string>
}

const line = /^--! source (\S+) sha256:(\S+)$/m

/**
 * The whole text of a migration: its line `--! source NAME sha256:DIGEST` is replaced by that source. Throws
 * MigrationSourceDiffers when there is none of that name, or its text is another one: an upgraded package must
 * not change a migration unseen.
 */
export async function wholeText(
  { name, sql }: MigrationFile,
  sources: readonly MigrationSource[],
): Promise<string> {
  const [wanted, source, digest] = line.exec(sql) ?? []
  if (wanted === undefined) return sql
  const text = await sources.find((one) => one.name === source)?.read()
  const found = text === undefined ? 'none' : createHash('sha256').update(text).digest('hex')
  if (text === undefined || found !== digest) {
    throw new MigrationSourceDiffers(name, source ?? '', found)
  }
  // By a function: a `$` in the text is no pattern.
  return sql.replace(line, () => text)
}
