import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../log.ts'
import { Secret } from '../secret.ts'
import { followLines, goneFrom, isGone, stopProcess } from './server-process.ts'

/** A Redis (or Valkey) server of our own, on loopback, with a password, that keeps nothing on disk. */
export interface RedisServer {
  readonly pid: number
  readonly url: Secret<string>
  /** Resolves when the server is gone, asked for or not. */
  readonly exited: Promise<void>
  stop(): Promise<void>
}

const readyMs = 10_000
/** Between looking for a free port and listening on it, somebody else may take it. */
const triesMax = 3

/**
 * Starts a local server when a program for it is installed, and gives undefined when none is, or
 * when it will not start: what it would hold may be lost, and one node can do without.
 *
 * Call it from the main thread: the server ends with the thread that started it, kill -9 included.
 */
export async function startRedis(options: { log: Log }): Promise<RedisServer | undefined> {
  const log = options.log.child({ module: 'local', part: 'redis' })
  const program = await findProgram()
  if (program === undefined) return undefined
  for (let tries = 0; tries < triesMax; tries += 1) {
    const server = await tryStart(program, log)
    if (server !== undefined) return server
  }
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

async function tryStart(program: string, log: Log): Promise<RedisServer | undefined> {
  const port = await findPort()
  const password = new Secret(randomBytes(24).toString('base64url'))
  const child = await spawnServer(program)
  const exited = goneFrom(child)
  const lastLines = followLines(child, (line) => log.debug({ line }, 'redis said'))
  // By stdin: the password would be everybody's to read among the arguments.
  child.stdin?.on('error', () => undefined) // It ended first, which `ready` tells.
  child.stdin?.end(
    [
      'bind 127.0.0.1',
      `port ${port}`,
      `requirepass ${password.reveal()}`,
      'save ""',
      'appendonly no',
      `dir ${tmpdir()}`,
      'daemonize no',
      '',
    ].join('\n'),
  )
  const stop = () =>
    stopProcess(child, exited, [
      ['SIGTERM', 5000],
      ['SIGKILL', 5000],
    ])
  if (await ready(child, port, password)) {
    log.info({ pid: child.pid, program }, 'redis is up')
    const url = new Secret(`redis://:${password.reveal()}@127.0.0.1:${port}`)
    return { pid: child.pid ?? 0, url, exited, stop }
  }
  await stop()
  log.debug({ lastLines }, 'redis did not start')
  return undefined
}

async function spawnServer(program: string): Promise<ChildProcess> {
  const setpriv = '/usr/bin/setpriv'
  const command = (await isExecutable(setpriv)) ? [setpriv, '--pdeathsig=TERM', program] : [program]
  const [file = '', ...args] = [...command, '-']
  // Its own process group: a Ctrl-C at the terminal is for us, and we end it in our order.
  return spawn(file, args, {
    cwd: '/',
    detached: true,
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
}

async function findPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function ready(
  child: ChildProcess,
  port: number,
  password: Secret<string>,
): Promise<boolean> {
  const started = performance.now()
  while (!isGone(child) && performance.now() - started < readyMs) {
    if (await ping(port, password)) return true
    await delay(15)
  }
  return false
}

/** Whether the server on this port is the one that knows our password. */
function ping(port: number, password: Secret<string>): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 2000 })
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
    socket.write(`AUTH ${password.reveal()}\r\nPING\r\n`)
  })
}
