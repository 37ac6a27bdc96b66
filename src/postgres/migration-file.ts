import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** One forward step of the schema, as a file. */
export interface MigrationFile {
  /** `0001_roles`: the file's name without `.sql`. Names sort in the order of application. */
  readonly name: string
  readonly sql: string
  readonly checksum: string
  /** Programs that do not know this step cannot work with the schema after it. */
  readonly breaking: boolean
}

/** Reads a directory of migrations in order. */
export async function readMigrations(directory: string): Promise<MigrationFile[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).toSorted()
  const files = await Promise.all(
    names.map(async (file) => {
      const sql = await readFile(join(directory, file), 'utf8')
      return {
        name: file.slice(0, -'.sql'.length),
        sql,
        checksum: createHash('sha256').update(sql).digest('hex'),
        breaking: /^--! breaking\s*$/m.test(sql),
      }
    }),
  )
  const odd = files.find(({ name }) => !/^\d{4}_[a-z0-9_]+$/.test(name))
  if (odd !== undefined) throw new Error(`not a migration's name: ${odd.name}.sql`)
  const twice = files.find(({ name }, i) => files[i + 1]?.name.slice(0, 4) === name.slice(0, 4))
  if (twice !== undefined) throw new Error(`two migrations are numbered ${twice.name.slice(0, 4)}`)
  return files
}
