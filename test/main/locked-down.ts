import type { EventEmitter } from 'node:events'
import { mkdtempSync } from 'node:fs'

/**
 * What somebody tries who runs JavaScript in a worker, with every module of Node already in hand:
 * tells which of it worked. It is imported before the program of the worker, and waits for its
 * lockDown(). Without limits it runs at once.
 */
export interface AttackSettings {
  readonly locked: boolean
  /** The modules to look into. */
  readonly modules: readonly string[]
  /** Those of them that a worker keeps. */
  readonly kept: readonly string[]
  /** The directory that the worker may write. */
  readonly recordings: string
  /** Holds a directory for each attempt, with a `file`, a `link` to it, and a `directory`. */
  readonly outside: string
  /** A listening unix socket. */
  readonly socket: string
  /** A process of the same user. */
  readonly victim: number
  /** An addon, made machine code. */
  readonly addon: string
}

export interface AttackReport {
  readonly tried: readonly string[]
  readonly worked: readonly string[]
  /** Functions that nobody has looked at yet. */
  readonly unknown: readonly string[]
}

/** What the tried functions give, in one. */
interface Thing extends EventEmitter, AsyncIterable<unknown> {
  readonly status: number
  readonly error?: Error
  readonly process: { kill(signal: string): void }
  close(): void
  next(): Promise<unknown>
  deregister(): void
  connect(where?: object): Thing
  disconnect(): void
  enable(): void
  disable(): void
  bind(port: number, host: string): Thing
  listen(...where: unknown[]): void
  destroy(): void
  exec(sql: string): void
  backup(from: Thing, to: string): unknown
}
type Call = (...args: unknown[]) => unknown
type Attempt = (place: string) => unknown

const settings: AttackSettings = JSON.parse(process.env.ATTACK ?? '{}')
const { recordings } = settings
type Exports = { readonly [name: string]: unknown; readonly default?: unknown }
const modules = new Map<string, Exports>()
/** A worker never has these in hand. A server of node:net loads node:cluster by itself. */
const neverLoaded = ['node:cluster', 'node:sea', 'node:test', 'node:test/reporters']
const inHand = settings.modules.filter((name) => !settings.locked || !neverLoaded.includes(name))
for (const name of inHand) {
  const loaded = await import(name).catch(() => undefined)
  if (loaded !== undefined) modules.set(name, loaded)
}
let count = 0
const own = () => `${mkdtempSync(`${recordings}/own-`)}/file`

/** A function of a module, looked up when it is called: what lockDown() took away is missing. */
function call(module: string, name: string, ...args: unknown[]): Thing {
  return Reflect.apply(functionOf(module, name), modules.get(module), args) as Thing
}

function make(module: string, name: string, ...args: unknown[]): Thing {
  return Reflect.construct(functionOf(module, name), args) as Thing
}

function functionOf(module: string, name: string): Call {
  const exported = modules.get(module) ?? {}
  // Some are not exported by name.
  const found = exported[name] ?? Reflect.get(Object(exported.default), name)
  if (typeof found !== 'function') throw new Error(`no ${module}.${name}`)
  return found as Call
}

/** The first event of these; an error is a refusal. */
function event(emitter: Thing, ...names: string[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    emitter.on('error', reject)
    for (const name of names) emitter.once(name, resolve)
  })
}

/** A result that shows nothing, and changed nothing, is a refusal. */
function shown(value: unknown): unknown {
  if (!value) throw new Error('nothing')
  return value
}

const me = process.getuid?.() ?? 0
/** By the name of the function in node:fs, its arguments that reach out of the recordings. */
const fileCalls: Record<string, (place: string) => unknown[][]> = {
  access: (at) => [[`${at}/file`]],
  appendFile: (at) => [
    [`${at}/file`, 'x'],
    [`${at}/new`, 'x'],
  ],
  chmod: (at) => [[`${at}/file`, 0o600]],
  chown: (at) => [[`${at}/file`, me, -1]],
  copyFile: (at) => [
    [`${at}/file`, own()],
    [`${ownFile()}`, `${at}/new`],
  ],
  cp: (at) => [
    [`${at}/file`, own()],
    [ownFile(), `${at}/new`],
  ],
  lchown: (at) => [[`${at}/link`, me, -1]],
  link: (at) => [
    [`${at}/file`, own()],
    [ownFile(), `${at}/new`],
  ],
  lstat: (at) => [[`${at}/file`]],
  lutimes: (at) => [[`${at}/link`, 1, 1]],
  mkdir: (at) => [[`${at}/new`]],
  mkdtemp: (at) => [[`${at}/new`]],
  mkdtempDisposable: (at) => [[`${at}/new`]],
  open: (at) => [
    [`${at}/file`, 'r'],
    [`${at}/new`, 'w'],
  ],
  opendir: (at) => [[at]],
  readdir: (at) => [[at]],
  readFile: (at) => [
    [`${at}/file`],
    [Buffer.from(`${at}/file`)],
    [new URL(`file://${at}/file`)],
    [`${recordings}/../${at.slice(settings.outside.lastIndexOf('/') + 1)}/file`],
  ],
  readlink: (at) => [[`${at}/link`]],
  realpath: (at) => [[`${at}/link`]],
  rename: (at) => [
    [ownFile(), `${at}/new`],
    [`${at}/file`, own()],
  ],
  rm: (at) => [[`${at}/file`]],
  rmdir: (at) => [[`${at}/directory`]],
  stat: (at) => [[`${at}/file`]],
  statfs: (at) => [[at]],
  symlink: (at) => [
    [`${at}/file`, own()],
    [ownFile(), `${at}/new`],
  ],
  truncate: (at) => [[`${at}/file`]],
  unlink: (at) => [[`${at}/file`]],
  utimes: (at) => [[`${at}/file`, 1, 1]],
  writeFile: (at) => [
    [`${at}/file`, 'x'],
    [`${at}/new`, 'x'],
  ],
}
/** Functions of node:fs that take no path, or descriptors. */
const withoutPath = [
  ...['close', 'fchmod', 'fchown', 'fdatasync', 'fstat', 'fsync', 'ftruncate', 'futimes', 'read'],
  ...['readv', 'write', 'writev', '_toUnixTimestamp', 'unwatchFile', 'Dir', 'Dirent', 'Stats'],
]
/** Those that are tried by name below. */
const byName = [
  ...['createReadStream', 'createWriteStream', 'exists', 'glob', 'openAsBlob', 'watch'],
  ...['watchFile', 'ReadStream', 'WriteStream', 'FileReadStream', 'FileWriteStream', 'Utf8Stream'],
]
/** Without an equal on this system. */
const elsewhere = ['lchmod']
/** Functions of the process that do not lead out of it. */
const harmless = (
  'uptime reallyExit cpuUsage threadCpuUsage resourceUsage memoryUsage exit ref unref hrtime getuid ' +
  'geteuid getgid getegid getgroups emitWarning nextTick cwd constrainedMemory availableMemory ' +
  'getActiveResourcesInfo _rawDebug _getActiveRequests _getActiveHandles openStdin _fatalException ' +
  'setUncaughtExceptionCaptureCallback hasUncaughtExceptionCaptureCallback _tickCallback ' +
  'addUncaughtExceptionCaptureCallback setSourceMapsEnabled _startProfilerIdleNotifier ' +
  '_stopProfilerIdleNotifier send disconnect _send _disconnect _handleQueue _channel assert'
).split(' ')

function ownFile(): string {
  const path = own()
  call('node:fs', 'writeFileSync', path, 'x')
  return path
}

function fileAttempts(): [string, Attempt][] {
  return Object.entries(fileCalls).flatMap(([name, argumentsOf]) =>
    argumentsOf('').flatMap((_args, nth): [string, Attempt][] => {
      const args = (at: string) => argumentsOf(at)[nth] ?? []
      const title = `${name} ${nth}`
      const sync: [string, Attempt] = [
        `fs.${title} sync`,
        (at) => call('node:fs', `${name}Sync`, ...args(at)),
      ]
      const promised: [string, Attempt] = [
        `fs.${title} promised`,
        (at) => call('node:fs/promises', name, ...args(at)),
      ]
      const calledBack: [string, Attempt] = [
        `fs.${title} called back`,
        (at) =>
          new Promise<void>((resolve, reject) => {
            call('node:fs', name, ...args(at), (err?: Error | null) =>
              err ? reject(err) : resolve(),
            )
          }),
      ]
      const tried = [sync, promised]
      if (name !== 'mkdtempDisposable') tried.push(calledBack)
      return tried
    }),
  )
}

async function firstOf(list: Thing): Promise<unknown> {
  for await (const item of list) return item
  throw new Error('nothing')
}

const otherFileAttempts: Record<string, Attempt> = {
  'fs.exists': (at) => shown(call('node:fs', 'existsSync', `${at}/file`)),
  'fs.exists called back': (at) =>
    new Promise((resolve) => call('node:fs', 'exists', `${at}/file`, resolve)).then(shown),
  'fs.createReadStream': (at) => event(call('node:fs', 'createReadStream', `${at}/file`), 'open'),
  'fs.createWriteStream': (at) => event(call('node:fs', 'createWriteStream', `${at}/new`), 'open'),
  'fs.ReadStream': (at) => event(make('node:fs', 'ReadStream', `${at}/file`), 'open'),
  'fs.WriteStream': (at) => event(make('node:fs', 'WriteStream', `${at}/new`), 'open'),
  'fs.FileReadStream': (at) => event(make('node:fs', 'FileReadStream', `${at}/file`), 'open'),
  'fs.FileWriteStream': (at) => event(make('node:fs', 'FileWriteStream', `${at}/new`), 'open'),
  'fs.Utf8Stream': (at) => make('node:fs', 'Utf8Stream', { dest: `${at}/new`, sync: true }),
  'fs.glob': (at) => shown(Reflect.get(call('node:fs', 'globSync', `${at}/*`), 0)),
  'fs.glob promised': (at) => firstOf(call('node:fs/promises', 'glob', `${at}/*`)),
  'fs.openAsBlob': (at) => call('node:fs', 'openAsBlob', `${at}/file`),
  'fs.watch': (at) => call('node:fs', 'watch', at).close(),
  'fs.watch promised': (at) => {
    const watched = call('node:fs/promises', 'watch', at)
    // Refused by the first turn, or waiting for a change.
    return Promise.race([watched.next(), new Promise(setImmediate)])
  },
  'fs.watchFile': (at) => {
    const watcher = call('node:fs', 'watchFile', `${at}/file`, () => {})
    call('node:fs', 'unwatchFile', `${at}/file`)
    return watcher
  },
}

const sqlAttempt =
  (run: (sqlite: Thing, database: Thing, at: string) => unknown): Attempt =>
  (at) =>
    run(
      modules.get('node:sqlite') as unknown as Thing,
      make('node:sqlite', 'DatabaseSync', ':memory:'),
      at,
    )

const attempts: Record<string, Attempt> = {
  'sqlite.DatabaseSync': (at) => make('node:sqlite', 'DatabaseSync', `${at}/new`),
  'sqlite attach': sqlAttempt((_, database, at) =>
    database.exec(`attach '${at}/new' as other; create table other.t(a)`),
  ),
  'sqlite vacuum into': sqlAttempt((_, database, at) => database.exec(`vacuum into '${at}/new'`)),
  'sqlite.backup': sqlAttempt((sqlite, database, at) => sqlite.backup(database, `${at}/new`)),
  'os.setPriority': () => call('node:os', 'setPriority', settings.victim, 5),
  'process.kill': () => process.kill(settings.victim, 0),
  'process._kill': () => {
    if (Reflect.apply(Reflect.get(process, '_kill'), process, [settings.victim, 0]) !== 0)
      throw new Error('refused')
  },
  'process._debugProcess': () =>
    Reflect.apply(Reflect.get(process, '_debugProcess'), process, [settings.victim]),
  'process._debugEnd': () => Reflect.apply(Reflect.get(process, '_debugEnd'), process, []),
  'process.dlopen': () => process.dlopen({ exports: {} }, addon()),
  'process.binding': () => Reflect.apply(Reflect.get(process, 'binding'), process, ['pipe_wrap']),
  'process.chdir': () => process.chdir(settings.outside),
  'process.loadEnvFile': (at) => process.loadEnvFile(`${at}/file`),
  'process.report': (at) => {
    process.report.directory = at
    return process.report.writeReport('new')
  },
  'process.umask': () => process.umask(0o022),
  'process.seteuid': () => asRoot('seteuid', process.geteuid?.()),
  'process.setegid': () => asRoot('setegid', process.getegid?.()),
  'process.setuid': () => asRoot('setuid', process.getuid?.()),
  'process.setgid': () => asRoot('setgid', process.getgid?.()),
  'module.createRequire of an addon': () =>
    Reflect.apply(
      call('node:module', 'createRequire', `${recordings}/x.js`) as unknown as Call,
      undefined,
      [addon()],
    ),
  'module.enableCompileCache': (at) => {
    const { status } = call('node:module', 'enableCompileCache', `${at}/new`)
    if (status !== 1) throw new Error('refused')
  },
  'module.register': () => call('node:module', 'register', 'data:text/javascript,'),
  'module.registerHooks': () => call('node:module', 'registerHooks', {}).deregister(),
  'v8.writeHeapSnapshot': (at) => call('node:v8', 'writeHeapSnapshot', `${at}/new`),
  'v8.setHeapSnapshotNearHeapLimit': () => call('node:v8', 'setHeapSnapshotNearHeapLimit', 1),
  'v8.setFlagsFromString': () => call('node:v8', 'setFlagsFromString', '--no-log'),
  'child_process.spawnSync': () => {
    const { error } = call('node:child_process', 'spawnSync', process.execPath, ['-v'])
    if (error) throw error
  },
  'child_process.spawn': () =>
    event(call('node:child_process', 'spawn', process.execPath, ['-v']), 'spawn'),
  'cluster.fork': () => {
    const child = call('node:cluster', 'fork', { ATTACK: '' })
    child.process.kill('SIGKILL')
  },
  'worker_threads.Worker': () =>
    event(make('node:worker_threads', 'Worker', '0', { eval: true }), 'online'),
  'inspector.open': () => {
    call('node:inspector', 'open', 0, '127.0.0.1')
    call('node:inspector', 'close')
  },
  'inspector.Session': () => {
    const session = make('node:inspector', 'Session')
    session.connect()
    session.disconnect()
  },
  'trace_events.createTracing': () => {
    const tracing = call('node:trace_events', 'createTracing', { categories: ['node'] })
    tracing.enable()
    tracing.disable()
  },
  'wasi.WASI': (at) => make('node:wasi', 'WASI', { version: 'preview1', preopens: { '/': at } }),
  'dgram.bind': () => {
    const socket = call('node:dgram', 'createSocket', 'udp4')
    return event(socket.bind(0, '127.0.0.1'), 'listening').then(() => socket.close())
  },
  'net.listen on a path': (at) => listens(call('node:net', 'createServer'), `${at}/socket`),
  'net.listen on a port': () => listens(call('node:net', 'createServer'), 0, '127.0.0.1'),
  'net.listen on a port of IPv6': () => listens(call('node:net', 'createServer'), 0, '::'),
  'net.connect to a path': () => connects(call('node:net', 'connect', settings.socket)),
  'net.Socket.connect to a path': () =>
    connects(make('node:net', 'Socket').connect({ path: settings.socket })),
  'http.listen on a path': (at) => listens(call('node:http', 'createServer'), `${at}/socket`),
  'http.request to a path': () =>
    connects(call('node:http', 'get', { socketPath: settings.socket })),
  'tls.connect to a path': () => connects(call('node:tls', 'connect', settings.socket)),
  'http2.connect to a path': () =>
    connects(call('node:http2', 'connect', 'http://x', { path: settings.socket })),
}

/** Calls a function of a process that only root can make use of. */
function asRoot(name: string, id: number | undefined): void {
  Reflect.apply(Reflect.get(process, name), process, [id])
}

function listens(server: Thing, ...where: unknown[]): Promise<unknown> {
  const listening = event(server, 'listening')
  server.listen(...where)
  return listening.then(() => server.close())
}

async function connects(socket: Thing): Promise<void> {
  await event(socket, 'connect', 'socket', 'response')
  socket.destroy()
}

function addon(): string {
  const copy = `${own()}.node`
  call('node:fs', 'copyFileSync', settings.addon, copy)
  return copy
}

/** Each module that a worker does not need: its functions are gone, and nothing gives it again. */
function moduleAttempts(): [string, Attempt][] {
  return settings.modules.flatMap((name): [string, Attempt][] => [
    [`import ${name}`, () => import(name)],
    [`getBuiltinModule ${name}`, () => shown(process.getBuiltinModule(name))],
  ])
}

const found = (name: string) => {
  const exported = modules.get(name) ?? {}
  const functions = Object.keys(exported).filter((key) => typeof exported[key] === 'function')
  return functions.filter((key) => key !== 'default').map((key) => `${name} ${key}`)
}

function leftFunctions(): string[] {
  return settings.modules.filter((name) => !settings.kept.includes(name)).flatMap(found)
}

function unknownFunctions(): string[] {
  const known = new Set([...Object.keys(fileCalls), ...withoutPath, ...byName, ...elsewhere])
  const files = ['node:fs', 'node:fs/promises'].flatMap((module) =>
    Object.keys(modules.get(module) ?? {})
      .filter((name) => typeof modules.get(module)?.[name] === 'function')
      .filter((name) => !known.has(name) && !known.has(name.replace(/Sync$/, '')))
      .map((name) => `${module} ${name}`),
  )
  const calm = new Set(harmless)
  if (!settings.locked) return files
  const ofProcess = Object.getOwnPropertyNames(process)
    .filter((name) => typeof Reflect.get(process, name) === 'function' && !calm.has(name))
    .map((name) => `process ${name}`)
  return [...files, ...ofProcess]
}

async function run(): Promise<AttackReport> {
  const all = [
    ...fileAttempts(),
    ...Object.entries(otherFileAttempts),
    ...Object.entries(attempts),
    ...moduleAttempts(),
  ]
  const worked: string[] = []
  for (const [name, attempt] of all) {
    try {
      await attempt(`${settings.outside}/${count++}`)
      worked.push(name)
    } catch {
      // Refused.
    }
  }
  const tried = all.map(([name]) => name)
  return { tried, worked: [...worked, ...leftFunctions()], unknown: unknownFunctions() }
}

async function runWhenReady(): Promise<void> {
  while (settings.locked && Reflect.get(process, 'kill') !== undefined)
    await new Promise(setImmediate)
  const report = await run()
  process.send?.({ report }, () => process.exit(0))
}
// Not awaited: the program of the worker is loaded after this one.
runWhenReady().catch(() => process.exit(1))
