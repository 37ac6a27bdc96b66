import { spawn } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn as spawnPty } from 'node-pty'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { startDemoTarget } from '../../src/local/demo-target.ts'
import { formatHostKeyLine, formatOpenSshPrivateKey, publicKeyBlob } from '../../src/ssh/index.ts'
import { silent } from '../support/postgres.ts'

const base = mkdtempSync(join(tmpdir(), 'demotarget-'))
const keyPath = join(base, 'key')
let target: Awaited<ReturnType<typeof startDemoTarget>>
let accepts: Buffer

function makeKey(path: string): Buffer {
  const { privateKey } = generateKeyPairSync('ed25519')
  writeFileSync(path, formatOpenSshPrivateKey(privateKey), { mode: 0o600 })
  return publicKeyBlob(createPublicKey(privateKey))
}

beforeAll(async () => {
  process.env.VAULTTERM_CANARY = 'leaked'
  process.env.DATABASE_URL ??= 'postgres://leaked'
  accepts = makeKey(keyPath)
  target = await startDemoTarget({ directory: base, accepts, log: silent })
  const known = target.hostKeys.map(({ publicKey }) =>
    formatHostKeyLine(target.host, target.port, publicKey),
  )
  writeFileSync(join(base, 'known_hosts'), known.join('\n'))
})
afterAll(async () => {
  await target.close()
  rmSync(base, { recursive: true })
})

function sshArguments(...args: string[]): string[] {
  return [
    ...['-F', 'none', '-p', String(target.port), '-i', keyPath],
    ...['-o', 'IdentitiesOnly=yes', '-o', 'IdentityAgent=none', '-o', 'BatchMode=yes'],
    ...['-o', `UserKnownHostsFile=${join(base, 'known_hosts')}`, '-o', 'LogLevel=ERROR'],
    ...args,
  ]
}

interface Outcome {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: Buffer
}

function ssh(command: string, options: string[] = [], input?: Buffer): Promise<Outcome> {
  const args = [...sshArguments(...options), `${target.login}@${target.host}`, command]
  return run('ssh', args, input)
}

function run(file: string, args: string[], input?: Buffer): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(file, args, { timeout: 60_000 })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout.on('data', (chunk) => stdout.push(chunk))
    child.stderr.on('data', (chunk) => stderr.push(chunk))
    child.on('close', (code) =>
      resolve({ code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) }),
    )
    child.stdin.end(input)
  })
}

test('runs a command, and gives its output, errors and exit status', async () => {
  const { stdout, stderr, code } = await ssh('echo out; echo err >&2; exit 7')
  expect([stdout.toString(), stderr.toString(), code]).toEqual(['out\n', 'err\n', 7])
})

test('tells which signal ended a command', async () => {
  // OpenSSH's client has 255 for a signal.
  expect((await ssh('kill -TERM $$')).code).toBe(255)
})

test('passes megabytes both ways byte for byte', async () => {
  const bytes = randomBytes(3 * 1024 * 1024)
  const { stdout, code } = await ssh('cat', [], bytes)
  expect(code).toBe(0)
  expect(stdout.equals(bytes)).toBe(true)
})

test('gives a command nothing of what this process was told', async () => {
  const { stdout } = await ssh('env')
  expect(stdout.toString()).toContain('HOME=')
  expect(stdout.toString()).not.toMatch(/VAULTTERM|DATABASE_URL|leaked/)
})

test('takes the language from the client, and nothing that changes how programs load', async () => {
  const options = ['-o', 'SetEnv=LC_ALL=C.UTF-8 LD_PRELOAD=x.so']
  const { stdout } = await ssh('echo "$LC_ALL/$LD_PRELOAD"', options)
  expect(stdout.toString()).toBe('C.UTF-8/\n')
})

test('gives a shell on a terminal of the size and the modes of the client', async () => {
  const pty = spawnPty('ssh', sshArguments('-tt', `${target.login}@${target.host}`), {
    name: 'xterm-256color',
    cols: 91,
    rows: 31,
    cwd: '/',
    env: { PATH: process.env.PATH ?? '', TERM: 'xterm-256color' },
    encoding: null,
  })
  let text = ''
  pty.onData((data) => {
    text += data.toString()
  })
  const exited = new Promise<number>((resolve) => pty.onExit(({ exitCode }) => resolve(exitCode)))
  pty.write(
    'stty size; stty -a | tr ";" "\\n" | grep -E "intr|eof|erase"; echo "$TERM $((40+2))"\r',
  )
  await expect.poll(() => text).toContain('xterm-256color 42')
  expect(text).toContain('31 91')
  expect(text).toContain('intr = ^C')
  expect(text).toContain('eof = ^D')
  pty.resize(100, 40)
  // What is typed may come before the change.
  const ask = () => {
    pty.write('stty size\r')
    return text
  }
  await expect.poll(ask, { interval: 200 }).toContain('40 100')
  pty.write('exit 3\r')
  expect(await exited).toBe(3)
})

test('runs a command on a terminal when asked to', async () => {
  const { stdout, code } = await ssh('tty; stty -a >/dev/null; exit 5', ['-tt'])
  expect(stdout.toString()).toMatch(/^\/dev\/pts\/\d+\r\n$/)
  expect(code).toBe(5)
})

test('ends what runs when the client goes away', async () => {
  const open = mkdtempSync(join(tmpdir(), 'still-'))
  onTestFinished(() => rmSync(open, { recursive: true }))
  chmodSync(open, 0o777)
  const marker = join(open, 'still')
  // The control: it can be made.
  expect((await ssh(`touch ${marker} && rm ${marker}`)).code).toBe(0)
  const child = spawn('ssh', [
    ...sshArguments(),
    `${target.login}@${target.host}`,
    `echo up; trap '' HUP; sleep 6; touch ${marker}`,
  ])
  await new Promise((resolve) => child.stdout.once('data', resolve))
  child.kill('SIGKILL')
  await new Promise((resolve) => setTimeout(resolve, 7000))
  expect(existsSync(marker)).toBe(false)
})

test('refuses any other key, any other login and anything but a session', async () => {
  makeKey(join(base, 'other'))
  const other = sshArguments(`${target.login}@${target.host}`, 'true').map((arg) =>
    arg === keyPath ? join(base, 'other') : arg,
  )
  expect((await run('ssh', other)).code).toBe(255)
  expect((await run('ssh', [...sshArguments(), `nobody2@${target.host}`, 'true'])).code).toBe(255)
  const forward = await ssh('', ['-W', '127.0.0.1:1'])
  expect(forward.code).not.toBe(0)
  // The control: the same but for the key.
  expect((await ssh('true')).code).toBe(0)
})

test.runIf(existsSync('/usr/lib/openssh/sftp-server'))('serves SFTP', async () => {
  // Into its own home, and back: the shell's user cannot look into our directories.
  writeFileSync(join(base, 'file'), 'content')
  const name = `there-${randomBytes(6).toString('hex')}`
  const there = target.separateUser === undefined ? join(base, name) : name
  const args = sshArguments().map((arg) => (arg === '-p' ? '-P' : arg))
  const { code } = await run(
    'sftp',
    [...args, '-b', '-', `${target.login}@${target.host}`],
    Buffer.from(
      `put ${join(base, 'file')} ${there}\nget ${there} ${join(base, 'copy')}\nrm ${there}\n`,
    ),
  )
  expect(code).toBe(0)
  expect(readFileSync(join(base, 'copy'), 'utf8')).toBe('content')
})

test('keeps its port and host keys over starts, and finds another port when that is taken', async () => {
  const directory = join(base, 'again')
  const first = await startDemoTarget({ directory, accepts, log: silent })
  await first.close()
  const second = await startDemoTarget({ directory, accepts, log: silent })
  await second.close()
  expect(second.port).toBe(first.port)
  expect(second.hostKeys[0]?.publicKey).toEqual(first.hostKeys[0]?.publicKey)
  const taken = createServer().listen(first.port, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  const third = await startDemoTarget({ directory, accepts, log: silent })
  await third.close()
  await new Promise((resolve) => taken.close(resolve))
  expect(third.port).not.toBe(first.port)
})
