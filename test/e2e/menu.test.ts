import { afterAll, beforeAll, expect, test } from 'vitest'
import { addTarget, eventually, newestEnded, sessions } from '../support/installation.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { givesTerminals, Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

let vaultterm: VaultTerm
let sshd: Sshd
const terminals: SshTerminal[] = []

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
})
afterAll(async () => {
  for (const terminal of terminals) terminal.close()
  await sshd?.close()
  await vaultterm?.close()
})

function open(size?: { cols: number; rows: number }, ...more: string[]): SshTerminal {
  const terminal = new SshTerminal(
    ['-F', `${vaultterm.home}/demo/ssh_config`, ...more, 'acme'],
    size,
  )
  terminals.push(terminal)
  return terminal
}

test.runIf(givesTerminals)('chooses by typing, and leaves to where one came from', async () => {
  const terminal = open()
  await terminal.waitFor(/VaultTerm acme/)
  await terminal.waitFor(/web1/)
  terminal.type('rea')
  await terminal.waitFor(/> rea_/)
  // What is typed ahead is for the shell.
  terminal.type('\recho $((40+2))\r')
  await terminal.waitFor(/42\r\n/)
  terminal.type('exit 3\r')
  expect(await terminal.exited).toBe(3)
  const session = await newestEnded(vaultterm)
  expect(session).toMatchObject({ target: 'real', kind: 'shell', exitStatus: 3, recording: true })
  // The menu is not of the session.
  const { stdout } = await vaultterm.cli(['session', 'export', session.id])
  expect(stdout).not.toContain('VaultTerm acme')
  expect(terminal.shown.indexOf('\x1b[?1049l')).toBeGreaterThan(
    terminal.shown.indexOf('\x1b[?1049h'),
  )
})

test.runIf(givesTerminals)('shows what was used last at the top, and moves by arrows', async () => {
  const terminal = open()
  await terminal.waitFor(/real +just now/)
  terminal.type('\x1b[B')
  await terminal.waitFor(/2\/2/)
  terminal.type('\r')
  await terminal.waitFor(/[#$] /)
  terminal.type('exit\r')
  await terminal.exited
  expect((await sessions(vaultterm))[0]).toMatchObject({ target: 'web1' })
})

test.each([
  ['Ctrl-C', '\x03'],
  ['Esc', '\x1b'],
])('%s leaves, and nothing was opened', async (_name, key) => {
  const before = (await sessions(vaultterm)).length
  const terminal = open()
  await terminal.waitFor(/VaultTerm acme/)
  terminal.type(key)
  expect(await terminal.exited).toBe(0)
  expect(await sessions(vaultterm)).toHaveLength(before)
})

test('is drawn anew when the terminal is resized', async () => {
  const terminal = open({ cols: 100, rows: 30 })
  await terminal.waitFor(/VaultTerm acme/)
  terminal.resize(40, 10)
  await eventually(
    () => (terminal.shown.split('\x1b[H').at(-1)?.split('\r\n').length === 10 ? true : undefined),
    'a smaller screen',
  )
  const screen = terminal.shown.slice(terminal.shown.lastIndexOf('\x1b[H'))
  expect(screen.split('\r\n')).toHaveLength(10)
  terminal.type('\x03')
  await terminal.exited
})

test('without a terminal there is a list, and no menu', async () => {
  const { stdout, stderr, code } = await vaultterm.ssh(['acme', 'true'])
  expect({ stdout, code }).toEqual({ stdout: '', code: 255 })
  expect(stderr).toContain('acme+<target>, with one of real, web1')
})

test('whoever goes away leaves nothing behind', async () => {
  const terminal = open()
  await terminal.waitFor(/VaultTerm acme/)
  terminal.close()
  await terminal.exited
  await eventually(
    async () => ((await sessions(vaultterm)).every(({ live }) => !live) ? true : undefined),
    'no live session',
  )
  expect((await vaultterm.ssh(['acme+real', 'echo well'])).stdout).toBe('well\n')
})
