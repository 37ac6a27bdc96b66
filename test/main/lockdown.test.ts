import { type ChildProcess, fork, spawn } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { builtinModules } from 'node:module'
import { createServer } from 'node:net'
import { getPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { workerLimits, workerProgram } from '../../src/main/fork.ts'
import type { AttackReport, AttackSettings } from './locked-down.ts'

const built = join(import.meta.dirname, '../../node_modules/.vaultterm')
const base = realpathSync(mkdtempSync(join(tmpdir(), 'vaultterm-lockdown-')))
const victim = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
const server = createServer((socket) =>
  socket.on('error', () => {}).end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
)
afterAll(() => {
  victim.kill('SIGKILL')
  server.close()
  rmSync(base, { recursive: true, force: true })
})

/**
 * The modules of Node that somebody has looked at. A new one fails this test: find out whether it
 * leads out of a worker, add its ways to ./locked-down.ts, and its name here.
 */
const keptByWorkers = (
  '_stream_duplex _stream_passthrough _stream_readable _stream_transform _stream_writable assert ' +
  'assert/strict async_hooks buffer console constants crypto diagnostics_channel dns dns/promises ' +
  'events fs fs/promises net os path path/posix path/win32 perf_hooks process punycode querystring ' +
  'stream stream/consumers stream/promises stream/web string_decoder sys timers timers/promises ' +
  'tty url util util/types zlib'
).split(' ')
const takenFromWorkers = (
  '_http_agent _http_client _http_common _http_incoming _http_outgoing _http_server _stream_wrap ' +
  'child_process cluster dgram domain http http2 https inspector ' +
  'inspector/promises module readline readline/promises repl sea sqlite test test/reporters tls ' +
  'trace_events v8 vm wasi worker_threads _tls_common _tls_wrap'
).split(' ')
const withPrefix = (name: string) => `node:${name}`

/** Each attempt has its own files outside of the recordings. */
function prepareOutside(outside: string): void {
  for (let place = 0; place < 300; place++) {
    const at = join(outside, String(place))
    mkdirSync(join(at, 'directory'), { recursive: true })
    writeFileSync(join(at, 'file'), 'SECRET=1\n')
    symlinkSync('file', join(at, 'link'))
  }
}

/** What is outside of the recordings, names and contents. */
function picture(outside: string): string[] {
  return readdirSync(outside, { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name) + (entry.isFile() ? content(entry) : ''))
    .sort()
}

function content({ parentPath, name }: { parentPath: string; name: string }): string {
  return ` ${readFileSync(join(parentPath, name), 'latin1')}`
}

async function attack(
  how: 'locked' | 'open',
): Promise<AttackReport & { readonly changed: boolean }> {
  const recordings = join(base, how, 'recordings')
  const outside = join(base, how, 'outside')
  mkdirSync(recordings, { recursive: true })
  prepareOutside(outside)
  // A worker can read what is in the recordings.
  const program = join(recordings, 'attack.mts')
  copyFileSync(join(import.meta.dirname, 'locked-down.ts'), program)
  const addon = readdirSync(built).find((name) => name.endsWith('.node')) ?? ''
  const settings: AttackSettings = {
    locked: how === 'locked',
    modules: [...keptByWorkers, ...takenFromWorkers].map(withPrefix),
    kept: keptByWorkers.map(withPrefix),
    ...{ recordings, outside, socket: join(base, 'socket'), victim: victim.pid ?? 0 },
    addon: join(built, addon),
  }
  const before = picture(outside)
  const { execArgv, env } = workerLimits(recordings)
  const child =
    how === 'locked'
      ? fork(workerProgram, [], {
          execArgv: [...execArgv, '--no-warnings', '--import', pathToFileURL(program).href],
          env: { ...env, ATTACK: JSON.stringify(settings) },
          stdio: ['ignore', 'ignore', 'inherit', 'ipc', 'pipe', 'pipe'],
        })
      : fork(program, [], {
          execArgv: ['--no-warnings'],
          env: { PATH: process.env.PATH, ATTACK: JSON.stringify(settings) },
          cwd: outside,
          stdio: ['ignore', 'ignore', 'ignore', 'ipc', 'pipe', 'pipe'],
        })
  const report = await reportOf(child)
  return { ...report, changed: picture(outside).join('\n') !== before.join('\n') }
}

function reportOf(child: ChildProcess): Promise<AttackReport> {
  return new Promise((resolve, reject) => {
    child.on('message', ({ report }: { report: AttackReport }) => resolve(report))
    child.once('exit', (code, signal) => reject(new Error(`ended early: ${code ?? signal}`)))
  })
}

test('attack: a worker that was taken over tries every module of Node for a way out', async () => {
  await new Promise<void>((resolve) => server.listen(join(base, 'socket'), resolve))
  const examined = [...keptByWorkers, ...takenFromWorkers].sort()
  expect(builtinModules.map((name) => name.replace(/^node:/, '')).sort()).toEqual(examined)

  const locked = await attack('locked')
  expect(locked.worked).toEqual([])
  expect(locked.unknown).toEqual([])
  expect(locked.changed).toBe(false)
  expect(getPriority(victim.pid ?? 0)).toBe(getPriority(process.pid))

  // Each of them works for a program without these limits: this test tries what it says.
  const open = await attack('open')
  expect(locked.tried.filter((name) => !open.worked.includes(name))).toEqual([])
  expect(open.changed).toBe(true)
  expect(getPriority(victim.pid ?? 0)).toBe(5)
})
