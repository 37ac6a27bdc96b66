import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VaultTerm } from '../support/vaultterm.ts'

const isRoot = process.getuid?.() === 0

let vaultterm: VaultTerm
beforeAll(async () => {
  vaultterm = await VaultTerm.start()
})
afterAll(() => vaultterm.close())

/** A command in the demo's shell. */
const demo = (command: string, ...options: string[]) =>
  vaultterm.ssh([...options, 'acme+web1', command])

describe.runIf(isRoot)('attack: the shell of the demo target', () => {
  test('runs as a user of its own, without groups and rights of root', async () => {
    const { stdout } = await demo('id -u; id -G; grep -E "CapEff|NoNewPrivs" /proc/self/status')
    const [uid, groups, ...facts] = stdout.trim().split('\n')
    expect(Number(uid)).toBeGreaterThan(0)
    expect(groups?.split(' ')).toHaveLength(1)
    expect(groups).not.toBe('0')
    expect(facts.map((line) => line.split(/\s+/))).toEqual([
      ['CapEff:', '0000000000000000'],
      ['NoNewPrivs:', '1'],
    ])
  })

  test('reads nothing in the home', async () => {
    // The control: they are there.
    const names = ['kek', 'logins.json', 'run.json', 'demo/demo_ed25519', 'recordings', 'postgres']
    const there = readdirSync(vaultterm.home, { recursive: true, encoding: 'utf8' })
    expect(there).toEqual(expect.arrayContaining(names))
    for (const name of ['', ...names, 'postgres/data/PG_VERSION', ...redisSockets(there)]) {
      const { stdout, stderr } = await demo(
        `cat '${join(vaultterm.home, name)}'; ls '${vaultterm.home}'`,
      )
      expect(stdout, name).toBe('')
      expect(stderr, name).toContain('Permission denied')
    }
  })

  test('learns nothing of the bastion and its servers from /proc, and cannot signal or trace them', async () => {
    const pids = [vaultterm.pid, ...vaultterm.workers, ...servers(vaultterm.pid)]
    expect(pids.length).toBeGreaterThan(3)
    for (const pid of pids) {
      const script = `
        for name in environ mem maps; do head -c 1 /proc/${pid}/$name && echo read $name; done
        for name in cwd root fd/0 exe; do readlink /proc/${pid}/$name && echo followed $name; done
        ls /proc/${pid}/fd /proc/${pid}/cwd/ && echo listed
        kill -0 ${pid} && echo signalled
        kill -TERM ${pid} && echo ended
        :`
      const { stdout, code } = await demo(script)
      expect([stdout, code]).toEqual(['', 0])
    }
    expect((await demo('echo well')).stdout).toBe('well\n')
  })

  test('has no open file of the bastion or of another session, with and without a terminal', async () => {
    const config = join(vaultterm.home, 'demo/ssh_config')
    const other = spawn('ssh', ['-F', config, '-tt', 'acme+web1', 'echo up; sleep 600'])
    await once(other.stdout, 'data')
    try {
      for (const options of [[], ['-tt']]) {
        const { stdout } = await demo('ls /proc/self/fd', ...options)
        // The last one is the directory that `ls` reads.
        expect(stdout.trim().split(/\s+/)).toEqual(['0', '1', '2', '3'])
      }
    } finally {
      other.kill()
    }
  })

  test('owns its terminal, and a home that is empty at the next start', async () => {
    const { stdout, stderr } = await demo(
      'test -O "$(tty)" && echo mine; touch "$HOME/note" && cd && ls; mkdir -p a/b; mkdir c; ln -s /etc c/d',
      '-tt',
    )
    expect(stdout, stderr).toBe('mine\r\nnote\r\n')
    const before = (await demo('echo $HOME')).stdout
    vaultterm.signal('SIGTERM')
    await vaultterm.exited()
    await vaultterm.up()
    expect((await demo('ls -A $HOME')).stdout).toBe('.profile\n')
    expect((await demo(`ls -d ${before}`)).stdout).toBe('')
    expect(readdirSync('/etc').length).toBeGreaterThan(3)
  })

  test('leaves the demo’s login usable after a start by which it has another user', async () => {
    const [target] = await vaultterm.json<{ logins: string[] }[]>('target', 'list', 'acme')
    expect(target?.logins).toEqual(['demo'])
  })
})

test.runIf(isRoot)('says on the log when the demo shell is open to other machines', async () => {
  const open = new VaultTerm({ VAULTTERM_SSH_LISTEN: '0.0.0.0:0' })
  try {
    await open.up()
    await expect
      .poll(() => open.stderr)
      .toMatch(/"level":"warn".*the demo target is a shell on this machine/)
    expect(vaultterm.stderr).not.toContain('the demo target is a shell on this machine')
  } finally {
    await open.close()
  }
})

test.skipIf(isRoot)('says on the log that the demo shell can read the keys of the bastion', () => {
  expect(vaultterm.stderr).toMatch(/"level":"warn".*it can read the keys of the bastion/)
})

function redisSockets(names: readonly string[]): readonly string[] {
  return names.filter((name) => name.startsWith('redis/'))
}

/** The database's and Redis' processes. */
function servers(parent: number): number[] {
  return execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([pid, ppid]) => ppid === parent && pid !== undefined)
    .map(([pid = 0]) => pid)
}
