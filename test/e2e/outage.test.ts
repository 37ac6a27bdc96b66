import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { events, eventually, metric, sessions } from '../support/installation.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** What VaultTerm stands on gives way. */
const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close()
})

test('the embedded servers killed: they are started again, and who is in stays', async () => {
  const vaultterm = await VaultTerm.start()
  open.push(vaultterm)
  const terminal = new SshTerminal(['-F', join(vaultterm.home, 'demo/ssh_config'), 'acme+web1'])
  open.push(terminal)
  await terminal.waitFor(/[#$] /)
  const killed = childrenOf(vaultterm.pid, /^(postgres|redis-server|valkey-server)$/)
  for (const pid of killed) process.kill(pid, 'SIGKILL')
  await eventually(
    async () => vaultterm.stderr.match(/runs again/g)?.length === killed.length || undefined,
    'the servers to run again',
  )
  await becomesReady(vaultterm)
  terminal.type('echo still-$((40+2))\r')
  await terminal.waitFor(/still-42/)
  expect(await vaultterm.ssh(['acme+web1', 'true'])).toMatchObject({ code: 0 })
  // And again, and up still stops with them.
  for (const pid of childrenOf(vaultterm.pid, /^postgres$/)) process.kill(pid, 'SIGKILL')
  await eventually(
    async () => vaultterm.stderr.match(/runs again/g)?.length === killed.length + 1 || undefined,
    'Postgres to run again',
  )
  terminal.type('exit\r')
  await terminal.exited
  vaultterm.signal('SIGTERM')
  expect(await vaultterm.exited()).toBe(0)
})

test('the database gone: nobody gets in, who is in stays, and the process lives', async () => {
  const vaultterm = await VaultTerm.start()
  open.push(vaultterm)
  const terminal = new SshTerminal(['-F', join(vaultterm.home, 'demo/ssh_config'), 'acme+web1'])
  open.push(terminal)
  await terminal.waitFor(/[#$] /)
  const undo = killPostgres(vaultterm)
  await eventually(async () => {
    const { status } = await fetch(`${vaultterm.ready.portal}/readyz`)
    return status === 503 ? true : undefined
  }, 'readyz to say so')
  const { code, stderr } = await vaultterm.ssh(['acme+web1', 'true'])
  expect(code).toBe(255)
  expect(stderr).toContain('the login cannot be checked at the moment; try again later')
  terminal.type('echo still-$((40+2))\r')
  await terminal.waitFor(/still-42/)
  expect((await fetch(`${vaultterm.ready.portal}/health`)).status).toBe(200)
  expect(vaultterm.alive).toBe(true)
  await eventually(
    () =>
      /the embedded Postgres does not start: find the cause/.test(vaultterm.stderr) || undefined,
    'what to do',
  )
  undo()
  await becomesReady(vaultterm)
})

test('the database gone for longer than the lease: sessions end with a word, and the process lives', async () => {
  const vaultterm = await VaultTerm.start({ VAULTTERM_NODE_LEASE_SECONDS: '9' })
  open.push(vaultterm)
  const terminal = new SshTerminal(['-F', join(vaultterm.home, 'demo/ssh_config'), 'acme+web1'])
  open.push(terminal)
  await terminal.waitFor(/[#$] /)
  killPostgres(vaultterm)
  await terminal.waitFor(/vaultterm: .*lost its database.*ERR_NODE_LEASE_LAPSED/, 60_000)
  expect(await terminal.exited).toBe(255)
  expect(vaultterm.alive).toBe(true)
})

/** Kills the postmaster, and keeps it from being started again until the answer is called. */
function killPostgres(vaultterm: VaultTerm): () => void {
  const mode = join(vaultterm.home, 'postgres/data/standby.signal')
  writeFileSync(mode, '')
  for (const pid of childrenOf(vaultterm.pid, /^postgres$/)) process.kill(pid, 'SIGKILL')
  return () => rmSync(mode)
}

function becomesReady(vaultterm: VaultTerm): Promise<unknown> {
  return eventually(async () => {
    const { status } = await fetch(`${vaultterm.ready.portal}/readyz`)
    return status === 200 ? true : undefined
  }, 'readyz to be 200')
}

/** Those of a process's children whose program has such a name. */
function childrenOf(parent: number, name: RegExp): readonly number[] {
  const found = readdirSync('/proc').filter((pid) => {
    try {
      if (!/^\d+$/.test(pid)) return false
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const isChild = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent
      return isChild && name.test(readFileSync(`/proc/${pid}/comm`, 'utf8').trim())
    } catch {
      return false // It ended meanwhile.
    }
  })
  if (found.length === 0) throw new Error('there is no such server below it')
  return found.map(Number)
}

const mayMount = process.getuid?.() === 0 && spawnSync('unshare', ['--mount', 'true']).status === 0

test.runIf(mayMount)(
  'the recorder’s disk full: the session ends with a word, and what was recorded plays',
  async () => {
    const disk = mkdtempSync(join(tmpdir(), 'vaultterm-disk-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', disk])
    open.push({
      close() {
        execFileSync('umount', ['-l', disk])
        rmSync(disk, { recursive: true })
      },
    })
    const recordings = join(disk, 'recordings')
    mkdirSync(recordings, { mode: 0o700 })
    const vaultterm = await VaultTerm.start({ VAULTTERM_RECORDINGS: `dir:${recordings}` })
    open.push(vaultterm)
    const config = join(vaultterm.home, 'demo/ssh_config')
    const command = 'head -c 60000000 /dev/urandom | base64; sleep 60'
    const terminal = new SshTerminal(['-F', config, '-tt', 'acme+web1', command])
    open.push(terminal)
    expect(await terminal.exited).toBe(255)
    expect(terminal.shown.slice(-400)).toMatch(
      /vaultterm: this session ended because its recording could not be written.*\(ERR_RECORDER_FAILED, [0-9a-f]+\)/,
    )
    const ended = await eventually(
      async () => (await sessions(vaultterm)).find(({ live }) => !live),
      'the end of the session',
    )
    expect(ended.reason).toBe('recorder-failed')
    expect((await events(vaultterm)).at(-1)).toMatchObject({ type: 'session.end' })
    await eventually(
      async () =>
        (await metric(vaultterm, 'bastion_upstream_connections')) === 0 ? true : undefined,
      'the upstream connection closed',
    )
    // What was cut off of the recording may have left a little room.
    fill(disk)
    // Nobody else starts without a record, and everybody is told why.
    const refused = await vaultterm.ssh(['acme+web1', 'true'])
    expect([refused.code, refused.stderr]).toEqual([255, expect.stringMatching(/ERR_RECORDER/)])
    expect(vaultterm.alive).toBe(true)
  },
)

/** Leaves no byte free. */
function fill(directory: string): void {
  const file = openSync(join(directory, 'filler'), 'w')
  try {
    for (let size = 1 << 20; size >= 1; size >>= 1) {
      for (;;) {
        try {
          if (writeSync(file, Buffer.alloc(size)) < size) break
        } catch (err) {
          if ((err as NodeJS.ErrnoException).code === 'ENOSPC') break
          throw err
        }
      }
    }
  } finally {
    closeSync(file)
  }
}
