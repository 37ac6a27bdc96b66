import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { parseCast } from '../../src/recorder/index.ts'
import { events, eventually, sessions } from '../support/installation.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** What ends a session before its user does. */
const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close()
})

async function start(
  env: Record<string, string> = {},
): Promise<{ vaultterm: VaultTerm; terminal: SshTerminal; id: string }> {
  const vaultterm = await VaultTerm.start(env)
  open.push(vaultterm)
  const terminal = new SshTerminal(['-F', `${vaultterm.home}/demo/ssh_config`, 'acme+web1'])
  open.push(terminal)
  await terminal.waitFor(/[#$] /)
  terminal.type('echo before-$((40+2))\r')
  await terminal.waitFor(/before-42/)
  const live = await eventually(
    async () => (await sessions(vaultterm)).find((session) => session.live),
    'a live session',
  )
  return { vaultterm, terminal, id: live.id }
}

test('session kill ends a live session with a word to its user', async () => {
  const { vaultterm, terminal, id } = await start()
  const killed = await vaultterm.json<{ live: boolean; reason: string }>(
    ...['session', 'kill', id, '--reason', 'maintenance'],
  )
  expect(killed).toMatchObject({ live: false, reason: 'killed' })
  await terminal.waitFor(
    /vaultterm: an operator ended this session: maintenance .*ERR_SESSION_KILLED/,
  )
  expect(await terminal.exited).toBe(255)
  const log = await events(vaultterm)
  expect(
    log.some(({ type, public: facts }) => type === 'session.kill' && facts.session === id),
  ).toBe(true)
  expect(await vaultterm.json('session', 'verify', id)).toMatchObject({ ok: true })
})

test('taking the grant away ends the session that stood on it', async () => {
  const { vaultterm, terminal } = await start()
  const [grant] = await vaultterm.json<{ id: string }[]>('grant', 'list', 'acme')
  await vaultterm.json('grant', 'remove', 'acme', grant?.id ?? '')
  await terminal.waitFor(/vaultterm: .*ERR_/)
  expect(await terminal.exited).toBe(255)
})

test('kill -9 of the bastion leaves a recording that plays, and the next process says so', async () => {
  const { vaultterm, terminal, id } = await start({ VAULTTERM_NODE_LEASE_SECONDS: '15' })
  // Durable within a second: wait for the flush, not for luck.
  await new Promise((done) => setTimeout(done, 1500))
  await vaultterm.crash()
  await terminal.exited
  await vaultterm.up()
  // It serves at once, and ends what the other one left when that one's lease has run out.
  const shown = await eventually(
    async () => {
      const session = (await sessions(vaultterm)).find((one) => one.id === id)
      return session?.live === false ? session : undefined
    },
    'the end of the session',
    90_000,
  )
  expect(shown).toMatchObject({ reason: 'interrupted', recording: true, bytes: null })
  const { stdout } = await vaultterm.cli(['session', 'export', id])
  const cast = parseCast(stdout)
  const text = cast.events.map((event) => JSON.stringify(event)).join('\n')
  expect(text).toContain('before-42')
  expect(text).toContain('interrupted')
  expect((await events(vaultterm)).some(({ type }) => type === 'recording.recovered')).toBe(true)
  expect(await vaultterm.json('audit', 'verify', 'acme')).toMatchObject({ ok: true })
})

test('a stop that does not wait tells whoever is connected, and puts their end on record', async () => {
  const { vaultterm, terminal, id } = await start()
  vaultterm.signal('SIGTERM')
  // Two that come at once are one.
  await expect.poll(() => vaultterm.stderr).toContain('draining')
  terminal.type('echo draining-$((40+2))\r')
  await terminal.waitFor(/draining-42/)
  vaultterm.signal('SIGTERM')
  await terminal.waitFor(/vaultterm: the bastion is stopping.*ERR_DRAINING/)
  expect(await vaultterm.exited()).toBe(0)
  await vaultterm.up()
  expect(await vaultterm.json('session', 'show', id)).toMatchObject({
    live: false,
    reason: 'drained',
  })
  expect(await vaultterm.json('session', 'verify', id)).toMatchObject({ ok: true })
})

test('Ctrl-C tells the person at the terminal how long live sessions have, and the second one ends them', async () => {
  const home = mkdtempSync(join(tmpdir(), 'vaultterm-terminal-'))
  open.push({ close: () => rmSync(home, { recursive: true, force: true }) })
  const settings = {
    VAULTTERM_HOME: home,
    VAULTTERM_SSH_LISTEN: '127.0.0.1:0',
    VAULTTERM_PORTAL_LISTEN: '127.0.0.1:0',
    VAULTTERM_ADMIN_LISTEN: '127.0.0.1:0',
    VAULTTERM_DRAIN_SECONDS: '45',
  }
  const up = new SshTerminal(['up'], { cols: 200, rows: 50 }, undefined, {
    program: resolve('bin/vaultterm'),
    settings,
  })
  open.push(up)
  await up.waitFor(/VaultTerm is up/)
  const terminal = new SshTerminal(['-F', join(home, 'demo/ssh_config'), 'acme+web1'])
  open.push(terminal)
  await terminal.waitFor(/[#$] /)
  up.type('\x03')
  await up.waitFor(/stopping: 1 session has 45 s to end; Ctrl-C again ends it now\r\n/)
  let ended = false
  void up.exited.then(() => {
    ended = true
  })
  // Until it counts as another one: npm sends the first one twice.
  await eventually(() => {
    if (!ended) up.type('\x03')
    return ended || undefined
  }, 'the end of up')
  expect(await up.exited).toBe(0)
  await terminal.waitFor(/vaultterm: the bastion is stopping.*ERR_DRAINING/)
})

test('a client without a session that a restart of the workers cuts off learns that it is a restart', async () => {
  const vaultterm = await VaultTerm.start()
  open.push(vaultterm)
  const config = join(vaultterm.home, 'demo/ssh_config')
  const idle = spawn('ssh', ['-v', '-N', '-F', config, 'acme+web1'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  open.push({ close: () => idle.kill('SIGKILL') })
  let said = ''
  idle.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  const ended = new Promise((done) => idle.once('close', done))
  await expect.poll(() => said).toContain('Authenticated to')
  vaultterm.signal('SIGUSR2')
  await ended
  expect(said).toContain('the bastion is restarting')
})

test('a session that was killed is not killed twice', async () => {
  const { vaultterm, terminal, id } = await start()
  const first = await vaultterm.cli(['session', 'kill', id])
  expect([first.stdout, first.code]).toEqual([`killed ${id}\n`, 0])
  await terminal.exited
  const second = await vaultterm.cli(['session', 'kill', id])
  expect([second.stdout, second.code]).toEqual([`${id} had already ended\n`, 0])
  expect((await events(vaultterm)).filter(({ type }) => type === 'session.kill')).toHaveLength(1)
})
