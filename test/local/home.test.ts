import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { claimHome, keepKekFile, keepNodeName, readRun, visitHome } from '../../src/local/index.ts'
import { Secret } from '../../src/secret.ts'
import { openKek } from '../../src/vault/index.ts'
import { silent } from '../support/postgres.ts'

let base: string
let path: string
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'home-'))
  path = join(base, 'home')
})
afterEach(() => rmSync(base, { recursive: true }))

const what = 'vaultterm test'

/** A lock as a process with this id left it. */
function leaveLock(pid: number): void {
  mkdirSync(path, { mode: 0o700 })
  const start = 'long ago'
  writeFileSync(join(path, 'lock'), JSON.stringify({ pid, start, what: 'vaultterm up' }))
}

async function deadProcess(): Promise<number> {
  const child = spawn('true')
  await once(child, 'exit')
  return child.pid ?? 0
}

test('is made for its owner alone', async () => {
  const home = await claimHome(path, { what })
  expect(statSync(path).mode & 0o777).toBe(0o700)
  await home.release()
})

test('belongs to one at a time, and says to whom', async () => {
  const home = await claimHome(path, { what })
  await expect(claimHome(path, { what })).rejects.toMatchObject({
    code: 'ERR_HOME_IN_USE',
    message: expect.stringContaining(`${what}, process ${process.pid}`),
  })
  await home.release()
  await (await claimHome(path, { what })).release()
})

test('is waited for', async () => {
  const home = await claimHome(path, { what })
  const next = claimHome(path, { what, waitMs: 60_000 })
  await home.release()
  await (await next).release()
})

test('is taken over from a process that was killed', async () => {
  leaveLock(await deadProcess())
  await (await claimHome(path, { what })).release()
})

test('is taken over when another process has the number of the killed one', async () => {
  leaveLock(process.pid)
  await (await claimHome(path, { what })).release()
})

test('goes to exactly one of many that find a dead lock', async () => {
  leaveLock(await deadProcess())
  const claims = await Promise.allSettled(
    Array.from({ length: 20 }, () => claimHome(path, { what })),
  )
  expect(claims.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
})

test('attack: is not taken from a living holder whose process id says nothing here', async () => {
  const home = await claimHome(path, { what })
  // As a process of another PID namespace sees it: nobody has this id.
  const lock = join(path, 'lock')
  const start = 'in another namespace'
  writeFileSync(lock, JSON.stringify({ pid: await deadProcess(), start, what: 'vaultterm up' }))
  await expect(claimHome(path, { what })).rejects.toMatchObject({
    code: 'ERR_HOME_IN_USE',
    message: expect.stringMatching(
      /process \d+ of another container or PID namespace.*stop it first/,
    ),
  })
  await home.release()
  await (await claimHome(path, { what })).release()
})

const isolated = ['--pid', '--fork', '--mount-proc', '--kill-child']
const canIsolate = spawnSync('unshare', [...isolated, 'true']).status === 0

test.runIf(canIsolate)('attack: goes to one of two processes in two PID namespaces', async () => {
  const program = `
    const { claimHome } = await import('./src/local/index.ts')
    await claimHome(process.argv[1], { what: 'vaultterm test' })
    console.log('claimed')
    setInterval(() => {}, 1000)`
  const root = join(import.meta.dirname, '../..')
  const node = [process.execPath, '--input-type=module', '-e', program, path]
  const holder = spawn('unshare', [...isolated, ...node], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(holder, 'exit')
  try {
    await once(holder.stdout, 'data')
    await expect(claimHome(path, { what })).rejects.toMatchObject({ code: 'ERR_HOME_IN_USE' })
  } finally {
    holder.kill('SIGKILL')
    await ended
  }
  // Killed without a word: the system has released the home.
  await (await claimHome(path, { what, waitMs: 60_000 })).release()
})

test('is refused where others can write', async () => {
  mkdirSync(path)
  chmodSync(path, 0o777)
  await expect(claimHome(path, { what })).rejects.toMatchObject({ code: 'ERR_HOME_UNUSABLE' })
})

test('tells what runs, for as long as it runs', async () => {
  const home = await claimHome(path, { what })
  expect(await readRun(home.paths.run)).toBeUndefined()
  const secret = new Secret('postgres://secret')
  await home.announce({
    ssh: '127.0.0.1:1',
    portal: 'http://127.0.0.1:2',
    admin: 'http://127.0.0.1:3',
    publicUrl: 'https://example.com',
    database: { owner: secret, app: secret, bastion: secret, jobs: secret },
    redisUrl: undefined,
    kek: 'file:/k',
    recordings: 'dir:/r',
  })
  expect(statSync(home.paths.run).mode & 0o777).toBe(0o600)
  const run = await readRun(home.paths.run)
  expect(run).toMatchObject({ pid: process.pid, ssh: '127.0.0.1:1', kek: 'file:/k' })
  expect(run?.database.app.reveal()).toBe('postgres://secret')
  // The same file of a process that is no more.
  const left = { ...JSON.parse(readFileSync(home.paths.run, 'utf8')), start: 'long ago' }
  writeFileSync(home.paths.run, JSON.stringify(left))
  expect(await readRun(home.paths.run)).toBeUndefined()
  await home.release()
  expect(existsSync(home.paths.run)).toBe(false)
})

test('is not made by a command that only visits', async () => {
  const visit = visitHome({ path, what, migrations: 'migrations', log: silent })
  await expect(visit).rejects.toMatchObject({ code: 'ERR_HOME_MISSING' })
  expect(existsSync(path)).toBe(false)
})

test('keeps the name of its node', async () => {
  const file = join(base, 'node')
  const name = await keepNodeName(file)
  expect(name).toMatch(/^[a-z0-9-]+$/)
  expect(await keepNodeName(file)).toBe(name)
})

test('makes a key-encryption key once, also after a start that was killed over it', async () => {
  const file = join(base, 'kek')
  writeFileSync(`${file}.new`, '')
  await keepKekFile(file)
  const { id } = await openKek(`file:${file}`)
  await keepKekFile(file)
  expect((await openKek(`file:${file}`)).id).toBe(id)
  expect(existsSync(`${file}.new`)).toBe(false)
})
