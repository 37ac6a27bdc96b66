import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import pg from 'pg'
import { queueTables } from '../../src/jobs/index.ts'
import { startPostgres } from '../../src/local/index.ts'
import { createLog } from '../../src/log.ts'
import { migrate } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'

/** A Postgres server of its own with the product's schema, and nothing in it. Is gone once it is closed. */
export interface Scratch {
  readonly directory: string
  readonly superuser: pg.Client
  /** As the owner of the schema. */
  readonly ownerUrl: Secret<string>
  /** As the product's login. */
  readonly appUrl: Secret<string>
  close(): Promise<void>
}

export async function openScratch(): Promise<Scratch> {
  const log = createLog('warn')
  const directory = await mkdtemp(join(tmpdir(), 'vaultterm-scale-'))
  const postgres = await startPostgres({
    directory: join(directory, 'postgres'),
    superuserPassword: new Secret(randomBytes(18).toString('base64url')),
    log,
    settings: { max_wal_size: '4GB' },
  })
  const superuser = new pg.Client({ connectionString: postgres.superuserUrl.reveal() })
  const close = async () => {
    await superuser.end()
    await postgres.stop()
    await rm(directory, { recursive: true, force: true })
  }
  const urlOf = (login: string) => {
    const url = new URL(postgres.superuserUrl.reveal())
    Object.assign(url, { username: login, password: login })
    return new Secret(url.href)
  }
  const [ownerUrl, appUrl] = [urlOf('scale_owner'), urlOf('scale_app')]
  try {
    await superuser.connect()
    await superuser.query(`
      create role scale_owner login createrole password 'scale_owner';
      create role scale_app login password 'scale_app';
      grant create on database postgres to scale_owner;
      alter schema public owner to scale_owner`)
    const directoryOfMigrations = resolve(import.meta.dirname, '../../migrations')
    await migrate({ url: ownerUrl, directory: directoryOfMigrations, sources: [queueTables], log })
    await superuser.query('grant vaultterm_app, vaultterm_system to scale_app')
    return { directory, superuser, ownerUrl, appUrl, close }
  } catch (err) {
    await close()
    throw err
  }
}
