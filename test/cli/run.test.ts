import { createWriteStream } from 'node:fs'
import { PassThrough, type Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { type CliDeps, runCli } from '../../src/cli/index.ts'

/** What a command says, when it does not get as far as the installation. */
async function run(...argv: string[]) {
  const stdout = new PassThrough()
  const ran = await runOnto(stdout, argv)
  return { ...ran, stdout: textOf(stdout) }
}

const textOf = (stream: PassThrough) => stream.read()?.toString() ?? ''

async function runOnto(stdout: Writable, argv: readonly string[]) {
  const [stdin, stderr] = [new PassThrough(), new PassThrough()]
  const untouched = () => Promise.reject(new Error('opened'))
  const deps: CliDeps = {
    open: untouched,
    up: untouched,
    serve: untouched,
    migrate: untouched,
    checkConfig: async () => ({ VAULTTERM_HOME: '/srv' }),
    doctor: async () => [
      { name: 'clock', ok: true, detail: 'agrees' },
      { name: 'vault', ok: false, detail: 'sealed\x1b[2J', fix: 'unseal it' },
    ],
  }
  const status = await runCli(argv, { stdin, stdout, stderr, env: {} }, deps)
  return { status, stderr: textOf(stderr) }
}

const wrong: readonly (readonly string[])[] = [
  ['tenat'],
  ['tenant', 'create'],
  ['tenant', 'list', '--jsno'],
  ['user', 'add', 'acme', 'bob', '--role', 'king'],
  ['target', 'add', 'acme', 'web', '--login', 'root', '--host', 'h'],
  ['target', 'add', 'acme', 'web', '--login', 'root', '--host', 'h', '--scan', '--host-key', 'f'],
  ['target', 'add', 'acme', 'web', '--login', 'root', '--host', 'h', '--scan', '--port', '0'],
  ['grant', 'add', 'acme', '--target', 'web'],
  ['grant', 'add', 'acme', '--user', 'a', '--role', 'member', '--target', 'web'],
  ['grant', 'add', 'acme', '--user', 'a', '--target', 'web', '--allow', 'everything'],
  ['grant', 'add', 'acme', '--user', 'a', '--target', 'web', '--until', '2020-01-01'],
  ['web-login', 'acme'],
  ['admin', 'remove'],
]

test.each(wrong)('says in one line what is wrong with: %s %s %s', async (...argv) => {
  const { status, stdout, stderr } = await run(...argv)
  expect([status, stdout]).toEqual([2, ''])
  expect(stderr).toMatch(/^vaultterm: .+ \(ERR_USAGE\)\n$/)
})

test('suggests what was meant', async () => {
  expect((await run('tenat')).stderr).toContain('did you mean tenant?')
})

test('wrong usage names the command, and its help', async () => {
  expect((await run('user', 'add')).stderr).toContain(
    "missing required argument 'tenant'; see vaultterm user add --help (ERR_USAGE)",
  )
  expect((await run('session', 'add')).stderr).toContain('; see vaultterm session --help (')
})

test('prints its version', async () => {
  const answer = await run('--version')
  expect(answer).toMatchObject({ status: 0, stderr: '' })
  expect(answer.stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})

test('the help fits into 80 columns, with no line broken in its middle', async () => {
  const { stdout } = await run('--help')
  expect(stdout).toContain(
    'with a key that\nnever leaves the vault, and the session is recorded.\n',
  )
})

test('key add names the file that holds no public key', async () => {
  const file = fileURLToPath(new URL('../../README.md', import.meta.url))
  const { status, stderr } = await run('key', 'add', 'acme', 'maria', file)
  expect(status).toBe(1)
  expect(stderr).toContain(`${file} is not a public key that can be added: `)
  expect(stderr).toContain('(ERR_KEY_REFUSED)')
})

test('shows help for each command, on stdout and with status 0', async () => {
  const nouns = ['tenant', 'user', 'key', 'target', 'grant', 'session', 'audit', 'vault', 'admin']
  const help = await run('--help')
  expect([help.status, help.stderr]).toEqual([0, ''])
  for (const name of [...nouns, 'up', 'serve', 'migrate', 'check-config', 'doctor', 'web-login']) {
    expect(help.stdout).toContain(name)
    const own = await run(name, '--help')
    expect([name, own.status]).toEqual([name, 0])
    expect(own.stdout).toContain(`Usage: vaultterm ${name}`)
  }
})

test('without a command: the help, as wrong usage', async () => {
  const { status, stdout, stderr } = await run()
  expect([status, stdout]).toEqual([2, ''])
  expect(stderr).toContain('Usage: vaultterm')
})

test('doctor exits 1 when something is wrong, and says how to mend it', async () => {
  const { status, stdout, stderr } = await run('doctor')
  expect(status).toBe(1)
  expect(stdout).toContain('unseal it')
  expect(stderr).toMatch(/vault.*ERR_CHECK_FAILED/)
  const json = await run('doctor', '--json')
  expect(JSON.parse(json.stdout)).toHaveLength(2)
})

test('attack: text from elsewhere moves no cursor, in a table as in JSON', async () => {
  for (const argv of [['doctor'], ['doctor', '--json']]) {
    const { stdout } = await run(...argv)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
    expect(stdout).not.toMatch(/[\x00-\x09\x0b-\x1f]/)
  }
})

test('a bug is told as one, without its text', async () => {
  const { status, stderr } = await run('tenant', 'list')
  expect([status, stderr]).toEqual([
    1,
    expect.stringMatching(/^vaultterm: internal error.*\(ERR_INTERNAL\)\n$/),
  ])
})

test('a full disk in the place of stdout is said, and is no success', async () => {
  for (const argv of [['check-config'], ['doctor', '--json']]) {
    const full = createWriteStream('/dev/full')
    expect(await runOnto(full, argv)).toEqual({
      status: 1,
      stderr: 'vaultterm: cannot write the output: the disk is full (ERR_FILE)\n',
    })
  }
})

test('attack: a check that failed exits 1 and says so, also when its reader has gone', async () => {
  for (const argv of [['doctor'], ['doctor', '--json']]) {
    const gone = new PassThrough()
    gone.destroy()
    const { status, stderr } = await runOnto(gone, argv)
    expect([status, stderr]).toEqual([1, expect.stringContaining('these checks failed: vault')])
  }
  const gone = new PassThrough()
  gone.destroy()
  expect(await runOnto(gone, ['check-config'])).toEqual({ status: 0, stderr: '' })
})

test('attack: an argument of 100 kB is not echoed whole', async () => {
  const long = 'x'.repeat(100_000)
  const spaced = 'a b'.repeat(30_000)
  const wrongs = [
    [long],
    ['key', 'add', 'acme', 'maria', long],
    ['key', 'add', 'acme', 'maria', spaced],
    ['grant', 'add', 'acme', '--user', 'a', '--target', 'web', '--allow', `${long},shell`],
    ['target', 'add', 'acme', 'web', '--login', 'root', '--host', 'h', '--port', spaced],
  ]
  for (const argv of wrongs) {
    const { status, stderr } = await run(...argv)
    expect(status).toBeGreaterThan(0)
    expect(stderr.length).toBeLessThan(1500)
    expect(stderr).toMatch(/^vaultterm: .+ \(ERR_(USAGE|FILE)\)\n$/)
  }
})

test('attack: an argument that is not UTF-8 is refused by name', async () => {
  const { status, stderr } = await run('ca', 'issue', 'acme', '--force-command', 'cat \ufffd')
  expect([status, stderr]).toEqual([
    2,
    'vaultterm: argument 5 is not UTF-8 text, or has the character U+FFFD (ERR_USAGE)\n',
  ])
})
