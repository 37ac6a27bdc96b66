import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { VaultTerm } from '../support/vaultterm.ts'

const running: VaultTerm[] = []
function make(env: Record<string, string> = {}, home?: string): VaultTerm {
  const vaultterm = new VaultTerm(env, home)
  running.push(vaultterm)
  return vaultterm
}
afterEach(async () => {
  for (const vaultterm of running.splice(0)) await vaultterm.close()
})

/** Every process below one, by its command line. */
function descendants(pid: number): Map<number, string> {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
      children.set(parent, [...(children.get(parent) ?? []), Number(name)])
    } catch {
      // It has ended meanwhile.
    }
  }
  const found = new Map<number, string>()
  const visit = (parent: number) => {
    for (const child of children.get(parent) ?? []) {
      found.set(child, commandOf(child))
      visit(child)
    }
  }
  visit(pid)
  return found
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
  } catch {
    return ''
  }
}

/** Those of them that are still there, as the processes they were. */
function left(processes: Map<number, string>): string[] {
  return [...processes]
    .filter(([pid, command]) => command !== '' && commandOf(pid) === command)
    .map(([, command]) => command)
}

test('a fresh start makes the demo, and ssh works with what it wrote', async () => {
  const vaultterm = make()
  const ready = await vaultterm.up()
  expect(ready).toEqual({
    event: 'ready',
    ssh: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    portal: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    admin: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    home: vaultterm.home,
  })
  expect(statSync(join(vaultterm.home, 'demo/demo_ed25519')).mode & 0o777).toBe(0o600)
  const direct = await vaultterm.ssh(['acme+web1', 'echo it works; exit 4'])
  expect([direct.stdout, direct.code], direct.stderr + vaultterm.stderr).toEqual(['it works\n', 4])
  expect((await vaultterm.ssh(['acme', 'echo', 'only target'])).stdout).toBe('only target\n')
  const [target] = await vaultterm.json<{ name: string }[]>('target', 'list', 'acme')
  expect(target?.name).toBe('web1')
  expect((await fetch(`${ready.portal}/readyz`)).status).toBe(200)
})

test('a second start goes on with the first one’s state, after a stop that leaves no process', async () => {
  const vaultterm = make()
  await vaultterm.up()
  const config = readFileSync(join(vaultterm.home, 'demo/demo_ed25519'), 'utf8')
  const below = descendants(vaultterm.pid)
  expect([...below.values()].some((command) => command.includes('postgres'))).toBe(true)
  vaultterm.signal('SIGTERM')
  expect(await vaultterm.exited()).toBe(0)
  expect(left(below)).toEqual([])
  await vaultterm.up()
  expect(readFileSync(join(vaultterm.home, 'demo/demo_ed25519'), 'utf8')).toBe(config)
  expect((await vaultterm.ssh(['acme', 'echo', 'again'])).stdout).toBe('again\n')
  expect(await vaultterm.json<unknown[]>('tenant', 'list')).toHaveLength(1)
  expect(await vaultterm.json<unknown[]>('grant', 'list', 'acme')).toHaveLength(1)
})

test('kill -9 leaves no process, and the next start goes on', async () => {
  const vaultterm = make()
  await vaultterm.up()
  const below = descendants(vaultterm.pid)
  await vaultterm.crash()
  await expect.poll(() => left(below)).toEqual([])
  await vaultterm.up()
  expect((await vaultterm.ssh(['acme', 'echo', 'mended'])).stdout).toBe('mended\n')
})

test.each([200, 800, 2000])(
  'a first start killed after %i ms is finished by the next',
  async (ms) => {
    const vaultterm = make()
    const start = vaultterm.up()
    // It ends before it is ready, mostly.
    start.catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, ms))
    await vaultterm.crash()
    await start.catch(() => undefined)
    await vaultterm.up()
    expect((await vaultterm.ssh(['acme', 'echo', 'complete'])).stdout).toBe('complete\n')
  },
)

test('a second up on the same home is refused in one clear line', async () => {
  const vaultterm = make()
  await vaultterm.up()
  const { code, stderr, stdout } = await vaultterm.cli(['up', '--json'])
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toContain('ERR_HOME_IN_USE')
  expect(stderr).toContain(`process ${vaultterm.pid}`)
  expect((await vaultterm.ssh(['acme', 'echo', 'undisturbed'])).stdout).toBe('undisturbed\n')
})

test('the first SIGTERM waits for a live session, the second does not', async () => {
  const vaultterm = make()
  await vaultterm.up()
  const session = spawn('ssh', [
    ...['-F', join(vaultterm.home, 'demo/ssh_config'), 'acme', 'echo up; sleep 600'],
  ])
  await new Promise((resolve) => session.stdout.once('data', resolve))
  const gone = new Promise<number | null>((resolve) => session.once('exit', resolve))
  vaultterm.signal('SIGTERM')
  await expect.poll(() => vaultterm.stderr).toContain('draining')
  // Nobody new gets in meanwhile.
  expect((await vaultterm.ssh(['acme', 'true'])).code).toBe(255)
  expect(vaultterm.alive).toBe(true)
  expect(session.exitCode).toBeNull()
  vaultterm.signal('SIGTERM')
  expect(await vaultterm.exited()).toBe(0)
  expect(await gone).toBe(255)
})

test('serve names every missing setting at once', async () => {
  const { code, stderr } = await make().cli(['serve'])
  expect(code).toBe(1)
  for (const name of ['DATABASE_URL', 'REDIS_URL', 'VAULTTERM_KEK', 'VAULTTERM_RECORDINGS'])
    expect(stderr).toContain(name)
})

test('SIGTERM to `npm start` stops all that it started', async () => {
  const vaultterm = make()
  const npm = spawn('npm', ['start', '--', '--json'], {
    cwd: join(import.meta.dirname, '../..'),
    env: {
      ...process.env,
      VAULTTERM_HOME: vaultterm.home,
      VAULTTERM_SSH_LISTEN: '127.0.0.1:0',
      VAULTTERM_PORTAL_LISTEN: '127.0.0.1:0',
      VAULTTERM_ADMIN_LISTEN: '127.0.0.1:0',
    },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const exited = new Promise((done) => npm.once('exit', done))
  await new Promise<void>((done) => {
    npm.stdout.on('data', (chunk: Buffer) => chunk.includes('"ready"') && done())
  })
  const processes = descendants(npm.pid ?? 0)
  expect(processes.size).toBeGreaterThan(1)
  npm.kill('SIGTERM')
  await exited
  // npm may be gone a moment before what it passed the signal on to.
  await expect.poll(() => left(processes)).toEqual([])
})
