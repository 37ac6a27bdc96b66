import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { addTarget, eventually } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

let vaultterm: VaultTerm
const servers: Sshd[] = []
const masters: ReturnType<typeof spawn>[] = []

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
})
afterAll(async () => {
  for (const master of masters) master.kill('SIGKILL')
  await vaultterm?.close()
  await Promise.all(servers.map((server) => server.close()))
})

/** A target with these settings, and a client that shares one connection for all its sessions. */
async function sharedConnectionTo(name: string, settings: readonly string[]) {
  const sshd = await Sshd.start(settings)
  servers.push(sshd)
  await addTarget(vaultterm, sshd, { name })
  const path = join(vaultterm.home, `shared-${name}`)
  const master = spawn(
    'ssh',
    ['-F', join(vaultterm.home, 'demo/ssh_config'), '-M', '-S', path, '-N', `acme+${name}`],
    { stdio: 'ignore' },
  )
  masters.push(master)
  const over = (...args: string[]) =>
    vaultterm.ssh(['-S', path, `acme+${name}`, ...args], undefined, 60_000)
  const control = (command: string) => vaultterm.ssh(['-S', path, '-O', command, `acme+${name}`])
  await eventually(
    async () => ((await control('check')).code === 0 ? true : undefined),
    'the master',
  )
  return { sshd, over }
}

describe("a target's limit of sessions on a connection is not the user's", () => {
  test('MaxSessions 1: further sessions of one shared connection run', async () => {
    const { over } = await sharedConnectionTo('one', ['MaxSessions 1'])
    const results = await Promise.all(
      [1, 2, 3, 4, 5].map((number) => over(`sleep 1; echo session-${number}`)),
    )
    expect(results.map(({ stdout }) => stdout.trim())).toEqual(
      [1, 2, 3, 4, 5].map((number) => `session-${number}`),
    )
    // What was dialled for them has room again, or is dialled anew.
    for (let number = 0; number < 3; number++) {
      expect((await over('echo again')).stdout).toBe('again\n')
    }
  })

  test('a target that allows no session says so to its user', async () => {
    const { over } = await sharedConnectionTo('none', ['MaxSessions 0'])
    const { stderr, code } = await over('echo in')
    expect(stderr).toContain('none refused to open a session')
    expect(code).toBe(255)
  })

  test('64 sessions at a time over one connection, with the default of sshd', async () => {
    const { over } = await sharedConnectionTo('stock', ['MaxSessions 10', 'MaxStartups 10:30:100'])
    const all = Array.from({ length: 64 }, (_, number) => number)
    const results = await Promise.all(all.map((number) => over(`sleep 5; echo ${number}`)))
    expect(results.map(({ stdout, stderr }) => stdout.trim() || stderr)).toEqual(all.map(String))
  })

  test('a shared connection that the target closes is dialled anew', async () => {
    const { over } = await sharedConnectionTo('closing', ['MaxSessions 10'])
    // The shell of one session ends the server process of the connection that all of them share.
    const cut = over('kill -9 $(ps -o ppid= -p $(ps -o ppid= -p $$))')
    await cut
    expect((await over('echo after')).stdout).toBe('after\n')
  })
})
