import { fork } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import { extname, join, resolve } from 'node:path'
import { type ForkWorker, workerThreads } from '../bastion/index.ts'

const root = resolve(import.meta.dirname, '../..')
/** The program of a worker. */
export const workerProgram = join(import.meta.dirname, `worker${extname(import.meta.filename)}`)

/**
 * The only variables of our environment that a worker gets: a database's password in them would be
 * in its memory.
 */
const passedOn = [
  ...['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'NODE_EXTRA_CA_CERTS'],
  // ssh2 reads it when it is loaded.
  'VAULTTERM_NATIVE_CIPHERS',
]

/** Starts workers. */
export function workersOf(recordings: string): ForkWorker {
  const limits = workerLimits(recordings)
  return () =>
    fork(workerProgram, [], {
      ...limits,
      // Output of a worker goes to the log: stdout belongs to the main process.
      stdio: ['ignore', 2, 'inherit', 'ipc', 'pipe', 'pipe'],
    })
}

/**
 * Node's permission model limits a worker process: it reads the program and the recordings, writes
 * the recordings, and starts no process. lockDown() refuses what the model leaves open.
 */
export function workerLimits(recordings: string): {
  readonly execArgv: string[]
  readonly env: NodeJS.ProcessEnv
} {
  // Permissions apply to real paths: packages and recordings may be behind symbolic links.
  // The root as a whole is not readable: by default it holds the home with the key of keys.
  const parts = ['src', 'dist', 'node_modules'].map((name) => join(root, name))
  const kept = [recordings, realPath(recordings)]
  const readable = [...parts, ...parts.map(realPath), ...kept]
  const execArgv = [
    // A relay makes much short-lived garbage, most of it buffers outside the heap. A small young
    // generation frees them soon; in a large one they would grow old first.
    '--max-semi-space-size=1',
    // SIGUSR1 would open a debugger for every process of the same user.
    '--disable-sigusr1',
    '--permission',
    // SQLite opens and makes files past the permissions; the storage of web pages is made of it.
    '--no-experimental-sqlite',
    '--no-experimental-webstorage',
    ...[...new Set(readable)].map((path) => `--allow-fs-read=${path}/`),
    `--allow-fs-read=${join(root, 'package.json')}`,
    ...[...new Set(kept)].map((path) => `--allow-fs-write=${path}/`),
    '--allow-addons',
    '--disable-warning=SecurityWarning',
  ]
  const env = Object.fromEntries([
    ...passedOn.flatMap((name) =>
      process.env[name] === undefined ? [] : [[name, process.env[name]]],
    ),
    ['UV_THREADPOOL_SIZE', String(workerThreads)],
  ])
  return { execArgv, env }
}

function realPath(path: string): string {
  return existsSync(path) ? realpathSync(path) : path
}
