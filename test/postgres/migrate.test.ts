import { randomBytes } from 'node:crypto'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { expect, inject, onTestFinished, test } from 'vitest'
import { queueTables } from '../../src/jobs/index.ts'
import { administer, migrate } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { openEmptyDatabase, openTestDatabase, silent } from '../support/postgres.ts'

const sources = [queueTables]

test('names a migration that the database refuses, with its reason, and leaves nothing of it', async () => {
  const server = inject('postgresUrl')
  const name = `refused_${randomBytes(6).toString('hex')}`
  const own = new URL(server)
  own.pathname = `/${name}`
  const url = new Secret(own.toString())
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-migrate-'))
  await administer(new Secret(server), (admin) => admin.many(`create database ${name}`))
  onTestFinished(async () => {
    rmSync(directory, { recursive: true })
    await administer(new Secret(server), (admin) => admin.many(`drop database ${name}`))
  })
  writeFileSync(
    join(directory, '0001_half.sql'),
    'create table half (); select no_such_function();',
  )
  await expect(migrate({ url, directory, sources, log: silent })).rejects.toMatchObject({
    code: 'ERR_MIGRATION_FAILED',
    message: expect.stringMatching(/0001_half.* failed, and nothing .*no_such_function/),
  })
  const left = await administer(url, (admin) =>
    admin.many("select from pg_class where relname = 'half'"),
  )
  expect(left).toEqual([])
})

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

/** The lock that migrations took up to version 0021. */
const formerKey = 7_236_105_418

test('attack: no login that may do nothing keeps a node from migrating', async () => {
  const [migrated, empty] = [await openTestDatabase(), await openEmptyDatabase()]
  const url = migrated.urls.bastion.reveal()
  for (const name of [migrated.name, empty.name]) {
    const own = new URL(url)
    own.pathname = `/${name}`
    await (await connect(own.href)).query('select pg_advisory_lock($1)', [formerKey])
  }
  const given = { directory: 'migrations', sources, log: silent, waitMs: 30_000 }
  expect(await migrate({ ...given, url: migrated.urls.owner })).toMatchObject({ applied: [] })
  const both = await Promise.all([1, 2].map(() => migrate({ ...given, url: empty.url })))
  const [one, other] = both.map(({ applied }) => applied)
  // Two nodes at once: each step is done once.
  expect([...(one ?? []), ...(other ?? [])]).toHaveLength(
    new Set([...(one ?? []), ...(other ?? [])]).size,
  )
  expect(both[0]?.version).toBe(both[1]?.version)

  const client = await connect(url)
  for (const role of ['vaultterm_directory', 'vaultterm_bastion']) {
    await client.query(`set role ${role}`)
    await expect(
      client.query('begin; lock table schema_migration in exclusive mode'),
    ).rejects.toMatchObject({ code: '42501' })
    await client.query('rollback')
  }
})

test('says who holds the lock that a migration waits for', async () => {
  const { url, name } = await openEmptyDatabase()
  await migrate({ url, directory: 'migrations', sources, log: silent })
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-migrate-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  cpSync('migrations', directory, { recursive: true })
  writeFileSync(join(directory, '9999_next.sql'), 'create table next ();')
  const server = new URL(inject('postgresUrl'))
  server.pathname = `/${name}`
  const holder = await connect(server.href)
  await holder.query('begin; lock table schema_migration in share mode')
  await expect(
    migrate({ url, directory, sources, log: silent, waitMs: 200 }),
  ).rejects.toMatchObject({
    code: 'ERR_MIGRATION_BLOCKED',
    message: expect.stringMatching(/postgres \(process \d+, schema_migration\)/),
  })
  await holder.query('rollback')
  expect(await migrate({ url, directory, sources, log: silent })).toMatchObject({
    applied: ['9999_next'],
  })
})

test('attack: a session of no process, from before it was refused, ends like those of a lost one', async () => {
  const { url, name } = await openEmptyDatabase()
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-migrate-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  cpSync('migrations', directory, { recursive: true })
  rmSync(join(directory, '0025_rows_of_nobody.sql'))
  await migrate({ url, directory, sources, log: silent })
  const server = new URL(inject('postgresUrl'))
  server.pathname = `/${name}`
  const superuser = await connect(server.href)
  await superuser.query(`set session_replication_role = replica;
    insert into session (tenant_id, id, user_id, user_name, key_fingerprint, target_id, target_name,
        login, kind, source, client_ident, node, recording, instance)
      select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'demo', '', gen_random_uuid(),
        'web1', 'root', 'shell', '', '', 'n', false, of from unnest(array[null, gen_random_uuid()]) of`)
  await migrate({ url, directory: 'migrations', sources, log: silent })
  const { rows } = await superuser.query(
    'select i.node from session s join node_instance i on i.id = s.instance where i.lease_until < clock_timestamp()',
  )
  expect(rows).toEqual([{ node: 'unknown' }, { node: 'unknown' }])
})

test('attack: no login that serves fills the disk with temporary tables or files', async () => {
  const { url, name } = await openEmptyDatabase()
  await migrate({ url, directory: 'migrations', sources, log: silent })
  const { urls } = await openTestDatabase()
  for (const login of [urls.app, urls.bastion]) {
    const own = new URL(login.reveal())
    own.pathname = `/${name}`
    const client = await connect(own.href)
    await expect(client.query('create temporary table t (b bytea)')).rejects.toMatchObject({
      code: '42501',
    })
    const { rows } = await client.query('show temp_file_limit')
    expect(rows).toEqual([{ temp_file_limit: '1GB' }])
    await expect(client.query('set temp_file_limit = -1')).rejects.toMatchObject({ code: '42501' })
  }
})

test('attack: a package with other statements than a migration names changes nothing', async () => {
  const { url, name } = await openEmptyDatabase()
  const [own] = sources
  const read = async () => `${await own?.read()}\nalter role vaultterm_jobs bypassrls;`
  const refused = { code: 'ERR_MIGRATION_SOURCE' }
  const given = { url, directory: 'migrations', log: silent }
  const other = [{ name: own?.name ?? '', read }]
  await expect(migrate({ ...given, sources: other })).rejects.toMatchObject(refused)
  await expect(migrate({ ...given, sources: [] })).rejects.toMatchObject(refused)
  const server = new URL(inject('postgresUrl'))
  server.pathname = `/${name}`
  const { rows } = await (await connect(server.href)).query('select name from schema_migration')
  // Not even the steps before it.
  expect(rows).toEqual([])
})

test('takes the transaction out of the package’s text, which would end the migrator’s', async () => {
  const text = (await queueTables.read()).replace(/\$(\w*)\$[\s\S]*?\$\1\$/g, '')
  expect(text).not.toMatch(/\b(?:begin|commit|rollback|set local|pg_advisory\w*)\b/i)
  expect(text).toContain('CREATE TABLE pgboss.job_common')
})
