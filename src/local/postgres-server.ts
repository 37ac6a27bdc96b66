import type { ChildProcess } from 'node:child_process'
import { access, chown, mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { errorCode } from '../errors.ts'
import type { Log } from '../log.ts'
import { administer } from '../postgres/index.ts'
import { Secret } from '../secret.ts'
import { PostgresServerFailed } from './errors.ts'
import { giveTree } from './give-tree.ts'
import { removeLentTree } from './lent-tree.ts'
import { OwnServer } from './own-server.ts'
import { assertClusterTrusted, assertClusterWritable } from './postgres-cluster.ts'
import { clearOrphans } from './postgres-orphans.ts'
import { choosePosture, type Posture } from './postgres-posture.ts'
import { keepPrivateDirectory } from './private-file.ts'
import { createScratch, removeScratch, scratchSocket } from './scratch.ts'
import { followLines, goneFrom, isGone, type StopStep } from './server-process.ts'

/** A login and its database. */
export interface PostgresLogin {
  readonly login: string
  readonly password: Secret<string>
  readonly database: string
}

/** A Postgres server of our own: a child process that listens only on a unix socket. */
export interface PostgresServer {
  readonly pid: number
  /** The superuser's connection to the database `postgres`. */
  readonly superuserUrl: Secret<string>
  /** The same to another database, which need not exist. */
  superuserUrlOf(database: string): Secret<string>
  /** A connection string for a login, which need not exist. */
  url(login: PostgresLogin): Secret<string>
  /** Resolves when the process that was started last is gone, asked for or not. */
  readonly exited: Promise<void>
  /** Starts it again, when it is gone. */
  start(): Promise<void>
  /** Ends open connections, writes all data to disk, and resolves when no process is left. */
  stop(): Promise<void>
}

export interface PostgresServerOptions {
  /** Holds all data of the server. One server at a time: the caller holds the lock. */
  readonly directory: string
  /** The directory of the unix socket; chosen when not given. */
  readonly socketDirectory?: string
  /** Used on the first start, which makes the cluster. */
  readonly superuserPassword: Secret<string>
  readonly log: Log
  /** More server settings, by name. `fsync: 'off'` is for tests. */
  readonly settings?: Readonly<Record<string, string>>
  /** The posture to use, in place of the first one that works here. */
  readonly posture?: Posture['name']
}

const superuser = 'postgres'
const socketName = '.s.PGSQL.5432'
/** sun_path holds 108 bytes with the closing zero. */
const socketPathMax = 107
const readyMs = 60_000
/** After a crash the server replays its log before it accepts connections, which may take long. */
const recoveryMs = 600_000
/** Fast, then immediate (the next start replays the log), then by force. */
const stopSteps: readonly StopStep[] = [
  ['SIGINT', 30_000],
  ['SIGQUIT', 10_000],
  ['SIGKILL', 10_000],
]

/**
 * Starts the server in options.directory, making the cluster on the first start.
 *
 * Call it from the main thread: the server ends with the thread that started it, kill -9 included.
 */
export async function startPostgres(options: PostgresServerOptions): Promise<PostgresServer> {
  const { directory, log } = options
  await keepPrivateDirectory(directory)
  await removeScratch(directory, log)
  try {
    return await start(options)
  } catch (err) {
    await removeScratch(directory, log)
    throw err
  }
}

async function start(options: PostgresServerOptions): Promise<PostgresServer> {
  const { directory } = options
  const log = options.log.child({ module: 'local', part: 'postgres' })
  const started = performance.now()
  const data = join(directory, 'data')
  const owner = await assertClusterTrusted(data)
  await assertClusterWritable(data)
  const posture = await choosePosture({
    directory,
    owner,
    only: options.posture,
    makeScratch: () => createScratch(directory),
  })
  if (await isMissing(join(data, 'PG_VERSION'))) await createCluster(posture, options, data)
  const socketDirectory =
    options.socketDirectory ?? (await createSocketDirectory(directory, posture))
  const url = (login: PostgresLogin) => new Secret(formatUrl(login, socketDirectory))
  const password = options.superuserPassword
  const superuserUrlOf = (database: string) => url({ login: superuser, password, database })
  const superuserUrl = superuserUrlOf('postgres')

  const server = new OwnServer({
    prepare: () => prepare(data, socketDirectory, posture, log),
    spawn: () => posture.spawn('postgres', flags(socketDirectory, options), data),
    ready: (child, exited) => ready(child, exited, superuserUrl, followLog(child, log)),
    stopSteps,
  })
  await server.start()
  const tookMs = Math.round(performance.now() - started)
  log.info({ posture: posture.name, pid: server.pid, tookMs }, 'postgres is up')
  return {
    ...{ superuserUrl, superuserUrlOf, url },
    get pid() {
      return server.pid
    },
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

/** A start again is one of the same cluster, which may have been changed meanwhile. */
async function prepare(
  data: string,
  socketDirectory: string,
  posture: Posture,
  log: Log,
): Promise<void> {
  await assertClusterTrusted(data)
  await assertClusterWritable(data)
  await clearOrphans(data, log)
  // It names a process id, as that of the cluster does.
  await rm(join(socketDirectory, `${socketName}.lock`), { force: true })
  if (posture.uid !== process.getuid?.()) await giveTree(data, posture.uid)
}

function formatUrl({ login, password, database }: PostgresLogin, socketDirectory: string): string {
  const [user, secret, host, name] = [login, password.reveal(), socketDirectory, database].map(
    encodeURIComponent,
  )
  return `postgres://${user}:${secret}@${host}/${name}`
}

function flags(socketDirectory: string, { settings }: PostgresServerOptions): string[] {
  const all = {
    listen_addresses: '',
    unix_socket_directories: socketDirectory,
    // A statement may have text that must not be in a log.
    log_min_error_statement: 'panic',
    log_error_verbosity: 'terse',
    log_line_prefix: '',
    // For each process of the server: a statement of a stolen login must not fill the disk.
    temp_file_limit: '1GB',
    ...settings,
  }
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

async function createCluster(
  posture: Posture,
  { directory, superuserPassword, settings, log }: PostgresServerOptions,
  data: string,
): Promise<void> {
  // Made aside and renamed: after a crash on the way there is no half-made cluster.
  const draft = join(directory, 'data.new')
  // It may still be written by the program of a start that was killed.
  await clearOrphans(draft, log)
  if (!(await removeLentTree(draft)))
    throw new PostgresServerFailed(`cannot be set up: remove ${draft}`)
  await mkdir(draft, { mode: 0o700 })
  const isOurs = posture.uid === process.getuid?.()
  if (!isOurs) await giveTree(draft, posture.uid)
  const passwordFile = join(directory, 'password.new')
  await rm(passwordFile, { force: true })
  const password = await open(passwordFile, 'wx', 0o600)
  try {
    await password.writeFile(`${superuserPassword.reveal()}\n`)
    if (!isOurs) await password.chown(posture.uid, posture.uid)
    // The password has no name in the file system any longer: the child gets its descriptor.
    await rm(passwordFile)
    const wanted = [
      ...['--username', superuser, '--auth', 'scram-sha-256', '--pwfile', '/proc/self/fd/3'],
      ...['--encoding', 'UTF8', '--locale', 'C', '--data-checksums'],
      ...['--locale-provider', 'builtin', '--builtin-locale', 'C.UTF-8'],
      ...(settings?.fsync === 'off' ? ['--no-sync'] : []),
    ]
    const child = posture.spawn('initdb', wanted, draft, password.fd)
    const lastLines = followLines(child)
    await goneFrom(child)
    if (child.exitCode !== 0) throw new PostgresServerFailed('could not be set up:', lastLines)
  } finally {
    await password.close()
  }
  await rename(draft, data)
}

/** Waits until a login succeeds: only then is the server past its start and its recovery. */
async function ready(
  child: ChildProcess,
  exited: Promise<void>,
  url: Secret<string>,
  lastLines: readonly string[],
): Promise<void> {
  const started = performance.now()
  let waitMs = readyMs
  for (;;) {
    const problem = await tryLogin(url)
    if (problem === undefined) return
    if (isGone(child)) {
      await exited
      throw new PostgresServerFailed('ended at its start:', lastLines, problem)
    }
    const code = errorCode(problem)
    if (code === '57P03') waitMs = recoveryMs // "the database system is starting up"
    if (code === '28P01')
      throw new PostgresServerFailed(
        'does not accept the password in logins.json beside it: restore that file from a backup',
        [],
        problem,
      )
    if (performance.now() - started > waitMs)
      throw new PostgresServerFailed(`is not ready after ${waitMs} ms:`, lastLines, problem)
    await delay(25)
  }
}

async function tryLogin(url: Secret<string>): Promise<Error | undefined> {
  try {
    await administer(url, async () => undefined)
    return undefined
  } catch (err) {
    return err instanceof Error ? err : new Error(String(err))
  }
}

function followLog(child: ChildProcess, log: Log): readonly string[] {
  return followLines(child, (line) => {
    if (/^(PANIC|WARNING):/.test(line)) log.warn({ line }, 'postgres said')
    else log.debug({ line }, 'postgres said')
  })
}

async function isMissing(path: string): Promise<boolean> {
  return access(path).then(
    () => false,
    (err: NodeJS.ErrnoException) => {
      if (err.code === 'ENOENT') return true
      throw err
    },
  )
}

/**
 * The socket is beside the cluster if its path is short enough, otherwise in a directory of /tmp.
 */
async function createSocketDirectory(directory: string, posture: Posture): Promise<string> {
  const near = join(directory, 'socket')
  const fits = Buffer.byteLength(join(near, socketName)) <= socketPathMax
  // The user nobody cannot enter a directory of root's, so its socket cannot be there.
  if (fits && posture.name !== 'nobody') {
    await keepPrivateDirectory(near)
    return near
  }
  // Below one of ours: the server's user can put things into it, and cannot put another in its place.
  const path = join(await createScratch(directory), scratchSocket)
  await mkdir(path, { mode: 0o700 })
  if (posture.uid !== process.getuid?.()) await chown(path, posture.uid, posture.uid)
  return path
}
