import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { access, chmod, readdir, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type { Log } from '../log.ts'
import { Secret } from '../secret.ts'
import { OwnServer } from './own-server.ts'
import { keepPrivateDirectory } from './private-file.ts'
import { createScratch, removeScratch } from './scratch.ts'
import { followLines, isGone, type StopStep } from './server-process.ts'

/**
 * A Redis (or Valkey) server of our own that stores nothing on disk. It listens on a unix socket in
 * a directory that only we can enter: on a port, another local user could listen first.
 */
export interface RedisServer {
  readonly pid: number
  /** `unix:///PATH`. */
  readonly url: Secret<string>
  /** Resolves when the process that was started last is gone, asked for or not. */
  readonly exited: Promise<void>
  /** Starts it again, when it is gone. */
  start(): Promise<void>
  stop(): Promise<void>
}

const readyMs = 10_000
const stopSteps: readonly StopStep[] = [
  ['SIGTERM', 5000],
  ['SIGKILL', 5000],
]
/** sun_path holds 108 bytes with the closing zero. */
const socketPathMax = 107

/**
 * Starts a local server if its program is installed. Undefined when there is no program, or when it
 * does not start: its contents may be lost at any time, and one node works without it.
 *
 * The directory is for this server alone; the caller holds the lock on it. Call it from the main
 * thread: the server ends with the thread that started it, kill -9 included.
 */
export async function startRedis(options: {
  readonly directory: string
  readonly log: Log
}): Promise<RedisServer | undefined> {
  const { directory } = options
  const log = options.log.child({ module: 'local', part: 'redis' })
  const program = await findProgram()
  if (program === undefined) return undefined
  await keepPrivateDirectory(directory)
  await removeScratch(directory, log)
  // Sockets that killed servers left behind.
  for (const name of await readdir(directory)) await rm(join(directory, name), { force: true })
  const server = await tryStart(program, directory, log)
  if (server !== undefined) return server
  await removeScratch(directory, log)
  log.warn({ program }, 'the local redis does not start: coordination stays in process')
  return undefined
}

async function findProgram(): Promise<string | undefined> {
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin']
  for (const name of ['valkey-server', 'redis-server'])
    for (const directory of directories) {
      const path = join(directory, name)
      if (directory !== '' && (await isExecutable(path))) return path
    }
  return undefined
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  )
}

async function tryStart(
  program: string,
  directory: string,
  log: Log,
): Promise<RedisServer | undefined> {
  const path = await chooseSocket(directory)
  const command = await commandOf(program)
  const server = new OwnServer({
    // One that was killed left its socket.
    prepare: () => rm(path, { force: true }),
    spawn: () => spawnServer(command, path),
    ready: (child) => ready(child, path, log),
    stopSteps,
  })
  try {
    await server.start()
  } catch (err) {
    log.debug({ err }, 'redis did not start')
    return undefined
  }
  log.info({ pid: server.pid, program }, 'redis is up')
  return {
    get pid() {
      return server.pid
    },
    url: new Secret(pathToFileURL(path).href.replace(/^file:/, 'unix:')),
    get exited() {
      return server.exited
    },
    start: () => server.start(),
    async stop() {
      await server.stop()
      await removeScratch(directory, log)
    },
  }
}

/**
 * A separate name for each server: a server that ends late removes the socket it made. It is in the
 * directory if the path is short enough, otherwise in a directory of /tmp.
 */
async function chooseSocket(directory: string): Promise<string> {
  const name = `${randomBytes(6).toString('hex')}.sock`
  const near = join(directory, name)
  if (Buffer.byteLength(near) <= socketPathMax) return near
  const scratch = await createScratch(directory)
  await chmod(scratch, 0o700)
  return join(scratch, name)
}

async function commandOf(program: string): Promise<readonly string[]> {
  const setpriv = '/usr/bin/setpriv'
  return (await isExecutable(setpriv)) ? [setpriv, '--pdeathsig=TERM', program] : [program]
}

function spawnServer(command: readonly string[], path: string): ChildProcess {
  const [file = '', ...args] = [...command, '-']
  // Its own process group: a Ctrl-C at the terminal is for us, and we end it in our order.
  const child = spawn(file, args, {
    cwd: '/',
    detached: true,
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.on('error', () => undefined) // It ended first, which `ready` tells.
  child.stdin.end(
    [
      'port 0',
      `unixsocket ${JSON.stringify(path)}`,
      'unixsocketperm 700',
      'save ""',
      'appendonly no',
      `dir ${JSON.stringify(dirname(path))}`,
      'daemonize no',
      '',
    ].join('\n'),
  )
  return child
}

async function ready(child: ChildProcess, path: string, log: Log): Promise<void> {
  const lastLines = followLines(child, (line) => log.debug({ line }, 'redis said'))
  const started = performance.now()
  while (!isGone(child) && performance.now() - started < readyMs) {
    if (await ping(path)) return
    await delay(15)
  }
  throw new Error(`the local redis does not start: ${lastLines.join('\n')}`)
}

function ping(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path, timeout: 2000 })
    const answer = (yes: boolean) => {
      socket.destroy()
      resolve(yes)
    }
    let heard = ''
    socket.on('error', () => answer(false))
    socket.on('timeout', () => answer(false))
    socket.on('close', () => answer(false))
    socket.on('data', (chunk) => {
      heard = (heard + chunk.toString('latin1')).slice(0, 1000)
      if (heard.includes('+PONG')) answer(true)
      else if (heard.includes('-')) answer(false)
    })
    socket.write('PING\r\n')
  })
}
