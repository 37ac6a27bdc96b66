import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { claimHome, startLocalDatabase, visitHome } from '../../src/local/index.ts'
import { administer } from '../../src/postgres/index.ts'
import { silent } from '../support/postgres.ts'

const base = mkdtempSync(join(tmpdir(), 'localdb-'))
afterAll(() => rmSync(base, { recursive: true }))
const path = join(base, 'home')
const migrations = 'migrations'

/** Processes that work in the home's cluster. */
function servers(): string[] {
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/cwd`).startsWith(path)
    } catch {
      return false
    }
  })
}

test('makes a database whose logins have their own roles and no other', async () => {
  const home = await claimHome(path, { what: 'a test' })
  const database = await startLocalDatabase({ home, migrations, log: silent })
  const as = (login: 'owner' | 'app' | 'bastion', role: string) =>
    administer(database.urls[login], (server) => server.many(`set role ${role}`))
  await as('app', 'vaultterm_app')
  await as('bastion', 'vaultterm_bastion')
  for (const role of ['vaultterm_app', 'vaultterm_system', 'local_owner', 'postgres'])
    await expect(as('bastion', role), role).rejects.toMatchObject({ code: '42501' })
  await expect(as('app', 'local_owner')).rejects.toMatchObject({ code: '42501' })
  const [row] = await administer(database.urls.owner, (server) =>
    server.many<{ super: boolean; bypass: boolean }>(
      `select bool_or(rolsuper) as super, bool_or(rolbypassrls) as bypass
       from pg_roles where rolname like 'local\\_%' or rolname like 'vaultterm\\_%'`,
    ),
  )
  expect(row).toEqual({ super: false, bypass: false })
  await database.server.stop()
  await home.release()
  expect(servers()).toEqual([])
})

test.each([
  'lo_create(0)',
  'lo_creat(0)',
  "lo_from_bytea(0, 'x')",
  "lo_import('/etc/hostname')",
  "lo_export(0, '/tmp/x')",
])('attack: no login puts what it likes into the database by %s', async (call) => {
  const visit = await visitHome({ path, what: 'a test', migrations, log: silent })
  try {
    for (const login of ['app', 'bastion', 'owner'] as const) {
      const made = administer(visit.database[login], (server) => server.many(`select ${call}`))
      await expect(made, login).rejects.toThrow('permission denied for function lo_')
    }
  } finally {
    await visit.close()
  }
})

test.each(['standby.signal', 'recovery.signal'])(
  'attack: a file %s that somebody put into the cluster is named, and what to do',
  async (name) => {
    const file = join(path, 'postgres', 'data', name)
    writeFileSync(file, '')
    const visited = visitHome({ path, what: 'a test', migrations, log: silent })
    await expect(visited).rejects.toMatchObject({
      code: 'ERR_LOCAL_POSTGRES',
      message: expect.stringContaining(`because ${file} exists`),
    })
    expect(servers()).toEqual([])
    rmSync(file)
    const visit = await visitHome({ path, what: 'a test', migrations, log: silent })
    await visit.close()
  },
)

test('is there for a command while nothing runs, and gone after it', async () => {
  const visit = await visitHome({ path, what: 'a test', migrations, log: silent })
  expect(visit.run).toBeUndefined()
  const rows = await administer(visit.database.app, (server) => server.many('select 1'))
  expect(rows).toHaveLength(1)
  await visit.close()
  expect(servers()).toEqual([])
})

test.each(['app', 'bastion'] as const)(
  'attack: the stolen login %s changes its password and settings, and the next start takes them back',
  async (login) => {
    const first = await visitHome({ path, what: 'a test', migrations, log: silent })
    await administer(first.database[login], async (server) => {
      await server.many('alter role current_user set default_transaction_read_only = on')
      await server.many(
        "alter role current_user in database vaultterm set search_path = 'pg_catalog'",
      )
      await server.many("alter role current_user password 'theirs'")
    })
    await first.close()
    const second = await visitHome({ path, what: 'a test', migrations, log: silent })
    const settings = await administer(second.database[login], (server) =>
      server.many(
        `select current_setting('default_transaction_read_only') as readonly,
           current_setting('search_path') as path`,
      ),
    )
    await second.close()
    expect(settings).toEqual([{ readonly: 'off', path: '"$user", public' }])
  },
)

test('ends with its process when that is killed, and starts again after', async () => {
  const script = `
    import { claimHome, startLocalDatabase } from '${resolve('src/local/index.ts')}'
    import { createLog } from '${resolve('src/log.ts')}'
    const home = await claimHome(${JSON.stringify(path)}, { what: 'a test' })
    await startLocalDatabase({ home, migrations: 'migrations', log: createLog('silent') })
    console.log('up')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  expect(servers()).not.toEqual([])
  child.kill('SIGKILL')
  await expect.poll(servers).toEqual([])
  const visit = await visitHome({ path, what: 'a test', migrations, log: silent })
  await visit.close()
})

test('a first start that was killed while it made the cluster is finished by the next one', async () => {
  const other = join(base, 'killed')
  const home = await claimHome(other, { what: 'a test' })
  const draft = join(home.paths.postgres, 'data.new')
  mkdirSync(join(draft, 'base'), { recursive: true, mode: 0o700 })
  chmodSync(home.paths.postgres, 0o700)
  // As the program that makes the cluster does: it outlives its killed parent for a moment.
  const writer = spawn('sh', ['-c', 'n=0; while mkdir -p base; : >base/$n; do n=$((n+1)); done'], {
    cwd: draft,
    stdio: 'ignore',
  })
  const ended = once(writer, 'exit')
  await expect.poll(() => readdirSync(join(draft, 'base')).length).toBeGreaterThan(10)
  const database = await startLocalDatabase({ home, migrations, log: silent })
  await ended
  await database.server.stop()
  await home.release()
})
