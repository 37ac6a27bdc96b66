import { builtinModules, registerHooks, syncBuiltinESMExports } from 'node:module'
import { connect, type NetConnectOpts } from 'node:net'
import os from 'node:os'

/** Functions that a worker does not need once its program is loaded, and that lead out of its JavaScript. */
const powers = [
  // Loads native code, which Node's permission model does not cover.
  'dlopen',
  'binding',
  '_linkedBinding',
  'execve',
  // Sends signals to processes of the same user: the main process and other workers.
  'kill',
  '_kill',
  '_debugProcess',
  '_debugEnd',
  'abort',
  // Gives any module of Node.
  'getBuiltinModule',
  // Parts of Node write into the current directory, past the permissions: traces, snapshots of the heap.
  'chdir',
  'report',
  'loadEnvFile',
  // A worker that runs as root has these.
  ...['setuid', 'seteuid', 'setgid', 'setegid', 'setgroups', 'initgroups', 'umask'],
]

/** The modules of Node that a running worker uses, or that are pure computation. The others are emptied. */
const kept = new Set([
  ...['assert', 'assert/strict', 'async_hooks', 'buffer', 'console', 'constants', 'crypto'],
  ...['diagnostics_channel', 'dns', 'dns/promises', 'events', 'fs', 'fs/promises', 'net', 'os'],
  ...['path', 'path/posix', 'path/win32', 'perf_hooks', 'process', 'punycode', 'querystring'],
  ...['stream', 'stream/consumers', 'stream/promises', 'stream/web', 'string_decoder', 'sys'],
  ...['timers', 'timers/promises', 'tty', 'url', 'util', 'util/types', 'zlib', '_stream_duplex'],
  ...['_stream_passthrough', '_stream_readable', '_stream_transform', '_stream_writable'],
])

/** What libuv says when the system refuses: Node makes EACCES of it. */
const refused = -13

/**
 * Removes from this process what its program no longer needs: it loads no module, is no server, and
 * opens no unix socket. Node's permission model covers none of these. It does not stop an attacker
 * who runs machine code here: the user of the process limits that one.
 */
export function lockDown(): void {
  // On the handles, below net: no other module of Node has its own way to a socket.
  refuse({ path: '/' }, ['bind', 'listen', 'connect', 'fchmod'])
  refuse({ host: '127.0.0.1', port: 1 }, ['bind', 'bind6', 'listen'])
  registerHooks({
    resolve(specifier) {
      throw new Error(`a running worker loads nothing, and not ${specifier}`)
    },
  })
  // Slows down any process of the same user.
  remove(os, 'setPriority')
  emptyModules()
  for (const power of powers) remove(process, power)
}

/** Refuses the calls of all sockets of the kind that leads to `target`. Nothing is connected. */
function refuse(target: NetConnectOpts, calls: readonly string[]): void {
  // The system refuses a connection to a directory; one to a port is not begun in this turn.
  const socket = connect(target).on('error', () => {})
  const calling: object = Object.getPrototypeOf(Reflect.get(socket, '_handle'))
  socket.destroy()
  for (const call of calls) {
    if (!Object.hasOwn(calling, call)) throw new Error(`sockets have no ${call}: see lockDown`)
    Reflect.defineProperty(calling, call, {
      value: () => refused,
      configurable: false,
      writable: false,
    })
  }
}

/** A module that was not loaded yet stays out of reach: nothing gives it any more. */
function emptyModules(): void {
  const loaded = new Set<string>(Reflect.get(process, 'moduleLoadList'))
  for (const listed of builtinModules) {
    const name = listed.replace(/^node:/, '')
    if (kept.has(name) || !loaded.has(`NativeModule ${name}`)) continue
    const exported: object = process.getBuiltinModule(listed) ?? {}
    for (const key of Reflect.ownKeys(exported)) Reflect.deleteProperty(exported, key)
  }
  syncBuiltinESMExports()
}

function remove(from: object, name: string): void {
  Reflect.deleteProperty(from, name)
  if (Reflect.get(from, name) === undefined) return
  Reflect.defineProperty(from, name, { value: undefined, configurable: false, writable: false })
}
