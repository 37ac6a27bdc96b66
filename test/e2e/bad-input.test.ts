import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  addTarget,
  demoKey,
  events,
  eventually,
  makeKey,
  metric,
  sshAs,
} from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** What goes wrong is told in one line, is on the log where one is due, and leaves nothing behind. */
let vaultterm: VaultTerm
let sshd: Sshd
beforeAll(async () => {
  sshd = await Sshd.start()
  vaultterm = await VaultTerm.start()
  await addTarget(vaultterm, sshd)
})
afterAll(async () => {
  await vaultterm?.close()
  await sshd?.close()
})

const line = (text: string, code: string) =>
  new RegExp(`^vaultterm: .*${text}.* \\(${code}, [0-9a-f]{12}\\)\\r?\\n$`)

/** The person can still work, and no connection to a target was left open. */
async function expectWell(): Promise<void> {
  expect(vaultterm.alive).toBe(true)
  expect(await vaultterm.ssh(['acme+web1', 'echo', 'well'])).toMatchObject({
    stdout: 'well\n',
    code: 0,
  })
  await eventually(
    async () =>
      (await metric(vaultterm, 'bastion_upstream_connections')) === 0 ? true : undefined,
    'every upstream connection closed',
  )
}

const newest = async (type: string) =>
  eventually(async () => (await events(vaultterm)).findLast((event) => event.type === type), type)

test('a wrong key is refused without a word, and on the log', async () => {
  const { code, stderr } = await sshAs(vaultterm, 'acme', makeKey(vaultterm, 'wrong'))
  expect(code).toBe(255)
  expect(stderr).toContain('Permission denied (publickey)')
  expect(await newest('login.failure')).toMatchObject({ public: { code: 'unknown-key' } })
  await expectWell()
})

test('an unknown tenant and a malformed name get the same refusal as a wrong key', async () => {
  const key = demoKey(vaultterm)
  const names = ['nobody-here', 'acme+', '+web1', 'ACME', 'acme+web1+root+more', 'a'.repeat(300)]
  const wrong = await sshAs(vaultterm, 'acme', makeKey(vaultterm, 'other'))
  for (const name of names) {
    const { code, stderr } = await sshAs(vaultterm, name, key)
    const told = (text: string) => text.replace(/^.*@/, '')
    expect([name, code, told(stderr)]).toEqual([name, 255, told(wrong.stderr)])
  }
  await expectWell()
})

test('an unknown target and one without a grant are told alike, and apart on the log', async () => {
  await vaultterm.json(
    ...['target', 'add', 'acme', 'secret', '--host', sshd.host, '--port', String(sshd.port)],
    ...['--login', sshd.login, '--host-key', sshd.hostKeyFile],
  )
  const missing = await vaultterm.ssh(['acme+absent', 'true'])
  const refused = await vaultterm.ssh(['acme+secret', 'true'])
  expect(missing.code).toBe(255)
  expect(missing.stderr).toMatch(line('no target absent that you may open', 'ERR_[A-Z_]+'))
  const shape = (text: string) =>
    text.replace(/absent|secret/g, 'X').replace(/, [0-9a-f]{12}\)/, ')')
  expect(shape(refused.stderr)).toBe(shape(missing.stderr))
  const denied = (await events(vaultterm))
    .filter(({ type }) => type === 'session.refused')
    .slice(-2)
    .map((event) => event.public.denied)
  expect(new Set(denied).size).toBe(2)
  await expectWell()
})

test('several targets and none named: the refusal lists them', async () => {
  const { code, stderr } = await vaultterm.ssh(['acme', 'true'])
  expect(code).toBe(255)
  expect(stderr).toMatch(line('real.*web1', 'ERR_[A-Z_]+'))
})

test('a target that is down', async () => {
  await sshd.down()
  try {
    const { code, stderr } = await vaultterm.ssh(['acme+real', 'true'])
    expect(code).toBe(255)
    expect(stderr).toMatch(
      line('real does not answer at .*connection refused', 'ERR_TARGET_UNREACHABLE'),
    )
    expect(await newest('session.end')).toMatchObject({
      public: { ended: 'ERR_TARGET_UNREACHABLE' },
    })
    const at = ['--host', sshd.host, '--port', String(sshd.port), '--login', 'root']
    const refused = `nothing answers at ${sshd.host}:${sshd.port} (connection refused)`
    for (const command of [
      ['target', 'add', 'acme', 'down', ...at, '--scan'],
      ['target', 'update', 'acme', 'real', '--scan'],
      ['target', 'check', 'acme', 'real'],
    ]) {
      const failed = await vaultterm.cli(command)
      expect(failed.code).toBe(1)
      expect(failed.stdout + failed.stderr).toContain(refused)
    }
  } finally {
    await sshd.up()
  }
  await expectWell()
})

test("attack: a target with another host key is shown nothing, not even a user's name", async () => {
  const other = await Sshd.start()
  try {
    await vaultterm.json(
      ...['target', 'add', 'acme', 'moved', '--host', other.host, '--port', String(other.port)],
      ...['--login', other.login, '--host-key', sshd.hostKeyFile],
    )
    await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', 'moved')
    const { code, stderr } = await vaultterm.ssh(['acme+moved', 'true'])
    expect(code).toBe(255)
    expect(stderr).toMatch(
      line('host key of moved is not the one on record', 'ERR_TARGET_HOST_KEY'),
    )
    // The key was leased and never used: the vault signed nothing for it.
    const log = await events(vaultterm)
    const started = log.findLastIndex(({ type }) => type === 'session.start')
    expect(log.slice(started).some(({ type }) => type === 'key.use')).toBe(false)
  } finally {
    await other.close()
  }
  await expectWell()
})

test('a target that does not take our key', async () => {
  const closed = await Sshd.start()
  try {
    await addTarget(vaultterm, closed, { name: 'closed' })
    closed.forget()
    const { code, stderr } = await vaultterm.ssh(['acme+closed', 'true'])
    expect(code).toBe(255)
    expect(stderr).toMatch(line('vaultterm target onboard acme closed', 'ERR_TARGET_REFUSED_KEY'))
  } finally {
    await closed.close()
  }
  await expectWell()
})

test('a text that is neither a session nor a file', async () => {
  const verify = await vaultterm.cli(['session', 'verify', 'nosuch'])
  expect([verify.code, verify.stdout]).toEqual([1, ''])
  expect(verify.stderr).toContain('vaultterm: there is neither a session nor a file nosuch: ')
  expect(verify.stderr).toContain('(ERR_SESSION_MISSING)')
  const show = await vaultterm.cli(['session', 'show', '0198'])
  expect(show.stderr).toContain('give the whole id, as `session list` prints it')
})

test('a sealed vault', async () => {
  // The bastion knows the user's key by now: without that, the login would be refused.
  await expectWell()
  // With the level of logs of a shell that sets none: a command prints its result and nothing else.
  const seal = await vaultterm.cli(['vault', 'seal'], undefined, { VAULTTERM_LOG: '' })
  expect(seal).toMatchObject({ code: 0, stderr: '' })
  try {
    const { code, stderr } = await vaultterm.ssh(['acme+web1', 'true'])
    expect(code).toBe(255)
    expect(stderr).toMatch(line('sealed', 'ERR_VAULT_SEALED'))
    const ready = await fetch(`${vaultterm.ready.portal}/readyz`)
    expect([ready.status, await ready.json()]).toMatchObject([503, { ready: false }])
  } finally {
    await vaultterm.json('vault', 'unseal')
  }
  await expectWell()
})

test('attack: 10 MB of garbage to the SSH port', async () => {
  const [host = '', port = ''] = vaultterm.ready.ssh.split(':')
  for (const garbage of [
    Buffer.alloc(10_000_000, 0xff),
    Buffer.alloc(10_000_000, 'SSH-2.0-'),
    Buffer.alloc(10_000_000),
  ]) {
    const socket = connect({ host, port: Number(port) })
    socket.on('error', () => {})
    socket.resume()
    const closed = new Promise((done) => socket.once('close', done))
    socket.write(garbage)
    await closed
  }
  await expectWell()
})

test('attack: 300 half-open connections take no place from who comes from elsewhere', async () => {
  const [host = '', port = ''] = vaultterm.ready.ssh.split(':')
  const sockets: Socket[] = []
  try {
    for (let count = 0; count < 300; count++) {
      const socket = connect({ host, port: Number(port) })
      socket.on('error', () => {})
      sockets.push(socket)
    }
    await eventually(
      async () =>
        (await metric(vaultterm, 'bastion_connections_turned_away_total')) >= 200
          ? true
          : undefined,
      'connections turned away',
    )
    expect(await metric(vaultterm, 'bastion_connections')).toBeLessThanOrEqual(100)
    expect(vaultterm.alive).toBe(true)
    const elsewhere = await vaultterm.ssh(['-b', '127.0.0.2', 'acme+web1', 'echo', 'well'])
    expect(elsewhere).toMatchObject({ stdout: 'well\n', code: 0 })
  } finally {
    for (const socket of sockets) socket.destroy()
  }
  await eventually(
    async () => ((await metric(vaultterm, 'bastion_connections')) === 0 ? true : undefined),
    'the half-open connections gone',
  )
  await new Promise((done) => setTimeout(done, 1100)) // The next second's start rate.
  await expectWell()
})

test('a weak, foreign or private key is refused with the reason', async () => {
  const { execFileSync } = await import('node:child_process')
  const file = join(vaultterm.home, 'keys', 'weak')
  execFileSync('ssh-keygen', ['-q', '-t', 'rsa', '-b', '1024', '-N', '', '-f', file])
  const add = (path: string) => vaultterm.cli(['key', 'add', 'acme', 'demo', path])
  expect(await add(`${file}.pub`)).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/2048 bits.*1024.*ERR_KEY_REFUSED/),
  })
  expect(await add(file)).toMatchObject({ code: 1, stderr: expect.stringMatching(/private/i) })
  const empty = join(vaultterm.home, 'keys', 'empty')
  writeFileSync(empty, '')
  expect(await add(empty)).toMatchObject({ code: 1, stderr: expect.stringContaining('is empty') })
  rmSync(empty)
  chmodSync(file, 0o600)
})
