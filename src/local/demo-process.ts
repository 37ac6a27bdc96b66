import { type ChildProcess, spawn as spawnChild } from 'node:child_process'
import { chownSync, existsSync } from 'node:fs'
import { constants } from 'node:os'
import { Duplex, type Readable } from 'node:stream'
import { spawn as spawnPty } from 'node-pty'

/** How a process ended: RFC 4254 section 6.10. */
export type Ending = { readonly exitStatus: number } | { readonly exitSignal: string }

/** Receives the output of a process. More is read only when `taken` has been called. */
export interface Output {
  output(chunk: Buffer, taken: () => void): void
  errorOutput(chunk: Buffer, taken: () => void): void
}

/** A process that a session runs. */
export interface DemoProcess {
  /** Calls `taken` when the process has read the bytes, or never will. */
  write(chunk: Buffer, taken: () => void): void
  /** Ends the input. */
  end(): void
  resize(cols: number, rows: number): void
  /** A signal by its name without SIG, to the whole process group. */
  signal(name: string): void
  /** Hangs up on the process group, and kills it if it does not end. */
  hangUp(): void
  /** Settles once, after the last of the output. */
  readonly done: Promise<Ending>
}

/** The environment in which a process is started. */
export interface Surroundings {
  readonly cwd: string
  readonly env: { readonly [name: string]: string }
  /** The command line that goes before a program, and gives it the user it runs as; may be empty. */
  readonly prefix: readonly string[]
  /** The owner of a new terminal, when the program does not run as the user of this process. */
  readonly tty?: { readonly uid: number; readonly gid: number }
}

const hangUpMs = 1000
const inFlightBytesMax = 256 * 1024

/** Runs a program with three pipes. */
export function runWithPipes(
  file: string,
  args: readonly string[],
  { cwd, env, prefix }: Surroundings,
  output: Output,
): DemoProcess {
  const [program, ...rest] = commandLine(prefix, file, args)
  // Detached: a process group of its own, so that all of it can be signalled.
  const child = spawnChild(program, rest, { cwd, env, detached: true, stdio: 'pipe' })
  const pumps = [
    pump(child.stdout, (chunk, taken) => output.output(chunk, taken)),
    pump(child.stderr, (chunk, taken) => output.errorOutput(chunk, taken)),
  ]
  // Input that a process does not read is lost, as with any pipe.
  child.stdin.on('error', () => {})
  const group = processGroup(child.pid)
  const done = endingOf(child).finally(group.over)
  return {
    write: (chunk, taken) => void child.stdin.write(chunk, () => taken()),
    end: () => void child.stdin.end(),
    resize: () => {},
    signal: group.signal,
    hangUp: () => {
      for (const one of pumps) one.discard()
      child.stdin.destroy()
      group.hangUp()
    },
    done,
  }
}

/** The terminal is there with the process, and gets its owner a moment later. Runs as that owner. */
const untilOwnTerminal = 'until test -O "$(tty)"; do sleep 0.01; done; exec "$@"'

/** Runs a program as the leader of a session on a new terminal. */
export function runOnTerminal(
  file: string,
  args: readonly string[],
  { cwd, env, prefix, tty }: Surroundings,
  terminal: { readonly term: string; readonly cols: number; readonly rows: number },
  output: Output,
): DemoProcess {
  const { term: name, cols, rows } = terminal
  const waiting = tty === undefined ? [] : ['sh', '-c', untilOwnTerminal, 'sh']
  const [program, ...rest] = commandLine([...prefix, ...waiting], file, args)
  const pty = spawnPty(program, rest, { name, cols, rows, cwd, env, encoding: null })
  // As sshd does: programs open their terminal by its name, too.
  if (tty !== undefined) chownSync(pty.ptsName, tty.uid, tty.gid)
  const group = processGroup(pty.pid)
  const input = inputOf(pty)
  let inFlight = 0
  let discarding = false
  let watch: NodeJS.Timeout | undefined
  const resume = () => {
    clearInterval(watch)
    watch = undefined
    pty.resume()
  }
  pty.onData((chunk) => {
    if (discarding) return
    inFlight += chunk.length
    if (inFlight > inFlightBytesMax && watch === undefined) {
      pty.pause()
      // node-pty drops unread output 200 ms after the end: read it then, there is little of it.
      watch = setInterval(() => !group.isAlive() && resume(), 50)
    }
    output.output(chunk, () => {
      inFlight -= chunk.length
      if (watch !== undefined && inFlight <= inFlightBytesMax / 2) resume()
    })
  })
  const { promise: done, resolve } = Promise.withResolvers<Ending>()
  pty.onExit(({ exitCode, signal }) => {
    clearInterval(watch)
    group.over()
    resolve(signal ? { exitSignal: signalName(signal) } : { exitStatus: exitCode })
  })
  return {
    write: (chunk, taken) => void input.write(chunk, () => taken()),
    // A terminal has no end of input: clients send the character for it.
    end: () => {},
    resize: (newCols, newRows) => group.isAlive() && pty.resize(newCols, newRows),
    signal: group.signal,
    hangUp: () => {
      discarding = true
      resume()
      group.hangUp()
    },
    done,
  }
}

/**
 * The shell that starts every program. It must be bash: other shells cannot close a descriptor above 9.
 */
export const starter = '/bin/bash'

/**
 * node-pty leaves the terminals of other sessions open in each new process, where they can be read
 * and typed into. The starter closes them, and sets the usual umask in place of ours.
 */
const start = `umask 022
for fd in /proc/self/fd/*; do
  fd=\${fd##*/}
  if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi
done
exec "$@"`

function commandLine(
  prefix: readonly string[],
  file: string,
  args: readonly string[],
): [program: string, ...args: string[]] {
  // Without the starter there are no terminals, and nothing to close.
  const program = [...prefix, file, ...args]
  if (!existsSync(starter)) return ['/bin/sh', '-c', 'umask 022; exec "$@"', 'sh', ...program]
  return [starter, '--norc', '--noprofile', '-c', start, 'bash', ...program]
}

/** node-pty does not report when input was written; the stream below it does. */
function inputOf(pty: object): Duplex {
  const socket: unknown = Reflect.get(pty, '_socket')
  if (!(socket instanceof Duplex)) throw new Error('this node-pty has no stream below it')
  return socket
}

function pump(from: Readable, write: (chunk: Buffer, taken: () => void) => void) {
  let inFlight = 0
  let discarding = false
  from.on('data', (chunk: Buffer) => {
    if (discarding) return
    inFlight += chunk.length
    if (inFlight > inFlightBytesMax) from.pause()
    write(chunk, () => {
      inFlight -= chunk.length
      if (inFlight <= inFlightBytesMax / 2) from.resume()
    })
  })
  from.on('error', () => {})
  return {
    discard: () => {
      discarding = true
      from.resume()
    },
  }
}

function endingOf(child: ChildProcess): Promise<Ending> {
  const { promise, resolve } = Promise.withResolvers<Ending>()
  // A program that cannot be started ends with the exit status of a shell for that.
  child.on('error', () => resolve({ exitStatus: 127 }))
  // 'close' comes after the last of stdout and stderr; 'exit' may come before.
  child.on('close', (status, signal) =>
    resolve(
      signal === null ? { exitStatus: status ?? 255 } : { exitSignal: signal.replace(/^SIG/, '') },
    ),
  )
  return promise
}

/** The group that a process leads, until it has ended and the system may use its id again. */
function processGroup(pid: number | undefined) {
  let over = pid === undefined
  let last: NodeJS.Timeout | undefined
  const send = (signal: NodeJS.Signals) => {
    if (over || pid === undefined) return
    try {
      process.kill(-pid, signal)
    } catch {
      // ESRCH: the group is gone already.
    }
  }
  return {
    isAlive: () => {
      try {
        return !over && pid !== undefined && process.kill(pid, 0)
      } catch {
        return false
      }
    },
    signal: (name: string) => {
      const signal = Object.keys(constants.signals).find((one) => one === `SIG${name}`)
      if (isSignal(signal)) send(signal)
    },
    hangUp: () => {
      send('SIGHUP')
      last ??= setTimeout(() => send('SIGKILL'), hangUpMs)
    },
    over: () => {
      // Processes that the leader left in its group end with it.
      if (last !== undefined) send('SIGKILL')
      clearTimeout(last)
      over = true
    },
  }
}

function isSignal(name: string | undefined): name is NodeJS.Signals {
  return name !== undefined && name in constants.signals
}

function signalName(number: number): string {
  const [name = 'SIGKILL'] =
    Object.entries(constants.signals).find(([, value]) => value === number) ?? []
  return name.replace(/^SIG/, '')
}
