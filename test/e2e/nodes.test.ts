import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { events, eventually, sessions } from '../support/installation.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Two processes over one database, with the same node name, as a copied home makes them. */
const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close()
})

const lease = { VAULTTERM_NODE_LEASE_SECONDS: '18' }
/** A lost node's sessions are ended a lease and a sweep later; the machine of a test may be busy. */
const takeoverMs = 90_000
/** Two installations start in each. */
const testMs = 300_000

async function startTwo(): Promise<{ first: VaultTerm; second: VaultTerm }> {
  const first = await VaultTerm.start(lease)
  open.push(first)
  const run = JSON.parse(readFileSync(join(first.home, 'run.json'), 'utf8')) as {
    readonly database: { readonly owner: string; readonly app: string; readonly bastion: string }
    readonly kek: string
    readonly recordings: string
  }
  const second = new VaultTerm({
    ...lease,
    DATABASE_URL: run.database.app,
    VAULTTERM_OWNER_DATABASE_URL: run.database.owner,
    VAULTTERM_BASTION_DATABASE_URL: run.database.bastion,
    VAULTTERM_KEK: run.kek,
    VAULTTERM_RECORDINGS: run.recordings,
  })
  open.push(second)
  writeFileSync(join(second.home, 'node'), readFileSync(join(first.home, 'node')), { mode: 0o600 })
  await second.up()
  return { first, second }
}

/** The demo user's terminal on one of them, and its session. */
async function connect(first: VaultTerm, to: VaultTerm) {
  const known = new Set((await sessions(first)).map(({ id }) => id))
  const terminal = new SshTerminal([
    ...['-F', join(first.home, 'demo/ssh_config'), '-p', to.sshPort],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', 'acme+web1'],
  ])
  open.push(terminal)
  await terminal.waitFor(/[#$] /)
  const { id } = await eventually(
    async () => (await sessions(first)).find((one) => one.live && !known.has(one.id)),
    'its session',
  )
  return { terminal, id }
}

const find = async (vaultterm: VaultTerm, id: string) =>
  (await sessions(vaultterm)).find((session) => session.id === id)

test(
  'two processes with one name serve side by side, and a kill reaches the sessions of both',
  async () => {
    const { first, second } = await startTwo()
    const [one, two] = [await connect(first, first), await connect(first, second)]
    for (const { terminal } of [one, two]) {
      terminal.type('echo alive-$((40+2))\r')
      await terminal.waitFor(/alive-42/)
    }
    for (const { id, terminal } of [one, two]) {
      expect(await find(first, id)).toMatchObject({ live: true })
      await first.json('session', 'kill', id, '--reason', 'maintenance')
      await terminal.waitFor(/maintenance.*ERR_SESSION_KILLED/)
      expect(await find(first, id)).toMatchObject({ live: false, reason: 'killed' })
    }
  },
  testMs,
)

test(
  'attack: a node that stood still is ended by another one, and wakes to write nothing',
  async () => {
    const { first, second } = await startTwo()
    const { terminal, id } = await connect(first, second)
    const stopped = [second.pid, ...second.workers]
    for (const pid of stopped) process.kill(pid, 'SIGSTOP')
    try {
      const ended = await eventually(
        async () => {
          const session = await find(first, id)
          return session?.live === false ? session : undefined
        },
        'the session’s end by the other node',
        takeoverMs,
      )
      expect(ended).toMatchObject({ reason: 'interrupted', recording: true, bytes: null })
      // Typed while nobody reads: the worker finds it when it wakes.
      terminal.type('echo after-$((40+2))\r')
    } finally {
      for (const pid of stopped) process.kill(pid, 'SIGCONT')
    }
    const before = await events(first)
    expect(await second.exited()).toBe(1)
    expect(second.stderr).toContain('ERR_NODE_LEASE_LOST')
    await terminal.exited
    expect(terminal.shown).not.toContain('after-42')
    const late = (await events(first))
      .slice(before.length)
      .filter(({ public: facts }) => facts.session === id)
    expect(late).toEqual([])
    expect(await first.json('session', 'verify', id)).toMatchObject({ ok: true })
  },
  testMs,
)

test(
  'attack: workers end their sessions by themselves when their main process stands still',
  async () => {
    const { first, second } = await startTwo()
    const { terminal, id } = await connect(first, second)
    process.kill(second.pid, 'SIGSTOP')
    try {
      await terminal.waitFor(/vaultterm: .*ERR_NODE_LEASE_LAPSED/, takeoverMs)
      await terminal.exited
      await eventually(
        async () => ((await find(first, id))?.live === false ? true : undefined),
        'the session’s end by the other node',
        takeoverMs,
      )
    } finally {
      process.kill(second.pid, 'SIGCONT')
    }
    expect(await second.exited()).toBe(1)
  },
  testMs,
)
