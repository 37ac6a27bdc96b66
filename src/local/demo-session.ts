import { accessSync, constants } from 'node:fs'
import { background, type Log } from '../log.ts'
import { type Channel, type ChannelRequest, Reader, WireError, Writer } from '../ssh/index.ts'
import { type DemoAccount, isAcceptedVariable } from './demo-account.ts'
import {
  type DemoProcess,
  type Ending,
  runOnTerminal,
  runWithPipes,
  starter,
} from './demo-process.ts'
import { sttyArguments } from './terminal-modes.ts'

interface TerminalRequest {
  readonly term: string
  readonly cols: number
  readonly rows: number
  readonly modes: Buffer
}

const sftpServer = '/usr/lib/openssh/sftp-server'
const variablesMax = 64
const sizeMax = 10_000
const stderrKind = 1

/** Serves one session channel of the demo target: RFC 4254 section 6. */
export function serveSession(channel: Channel, account: DemoAccount, log: Log): void {
  const env: { [name: string]: string } = { ...account.env }
  let terminal: TerminalRequest | undefined
  let running: DemoProcess | undefined
  let over = false
  /** Input that comes before the process is started. */
  let early: Buffer[] = []
  let ended = false

  const output = {
    output: (chunk: Buffer, taken: () => void) => channel.write(chunk, taken),
    errorOutput: (chunk: Buffer, taken: () => void) =>
      channel.writeExtended(stderrKind, chunk, taken),
  }

  function start(file: string, args: readonly string[], onTerminal = terminal): boolean {
    const { cwd, prefix, tty } = account
    const own = onTerminal ? { ...env, TERM: onTerminal.term } : env
    const surroundings = { cwd, prefix, env: own, ...(tty && { tty }) }
    if (running !== undefined || over) return false
    try {
      running = onTerminal
        ? runOnTerminal(...withModes(file, args, onTerminal), surroundings, onTerminal, output)
        : runWithPipes(file, args, surroundings, output)
    } catch (err) {
      // Arguments longer than the system takes, or no terminal left.
      log.warn({ err }, 'demo process could not start')
      return false
    }
    const started = running
    for (const chunk of early) started.write(chunk, () => channel.consumed(chunk.length))
    early = []
    if (ended) started.end()
    background(
      started.done.then((ending) => finish(channel, ending)),
      log,
      'the end of a demo session',
    )
    return true
  }

  function answer(request: ChannelRequest): boolean {
    const reader = new Reader(request.payload)
    switch (request.name) {
      case 'pty-req':
        if (running !== undefined || !isThere(starter)) return false
        terminal = readTerminal(reader)
        return true
      case 'env': {
        const name = reader.text()
        const value = reader.text()
        if (!isAcceptedVariable(name, value) || Object.keys(env).length >= variablesMax)
          return false
        env[name] = value
        return true
      }
      case 'shell':
        return start(account.shell, ['-l'])
      case 'exec': {
        const command = reader.string().toString('utf8')
        return !command.includes('\0') && start(account.shell, ['-c', command])
      }
      case 'subsystem':
        return reader.text() === 'sftp' && isThere(sftpServer) && start(sftpServer, [], undefined)
      case 'window-change': {
        const { cols, rows } = readSize(reader)
        running?.resize(cols, rows)
        return running !== undefined
      }
      case 'signal':
        running?.signal(reader.text())
        return running !== undefined
      default:
        return false
    }
  }

  channel.handle({
    data(chunk) {
      if (running === undefined) early.push(chunk)
      else running.write(chunk, () => channel.consumed(chunk.length))
    },
    // No client has one.
    extendedData: (_kind, chunk) => channel.drop(chunk),
    request(request) {
      try {
        request.reply(answer(request))
      } catch (err) {
        if (!(err instanceof WireError)) throw err
        request.reply(false)
      }
    },
    eof() {
      ended = true
      running?.end()
    },
    close() {
      over = true
      early = []
      running?.hangUp()
    },
  })
}

function finish(channel: Channel, ending: Ending): void {
  // A client that has gone does not need it.
  const tell = (name: string, payload: Buffer) => {
    channel.request(name, payload, false).catch(() => {})
  }
  if ('exitStatus' in ending) {
    tell('exit-status', new Writer().u32(ending.exitStatus).build())
  } else {
    const payload = new Writer().text(ending.exitSignal).boolean(false).text('').text('').build()
    tell('exit-signal', payload)
  }
  channel.eof()
  channel.close()
}

/** A process on the terminal sets its modes, and then becomes the program. */
function withModes(
  file: string,
  args: readonly string[],
  { modes }: TerminalRequest,
): [file: string, args: readonly string[]] {
  const settings = sttyArguments(modes)
  if (settings.length === 0) return [file, args]
  const script = 'set -f; modes=$1; shift; stty $modes 2>/dev/null; exec "$@"'
  return ['/bin/sh', ['-c', script, 'sh', settings.join(' '), file, ...args]]
}

function readTerminal(reader: Reader): TerminalRequest {
  const term = reader.text()
  const size = readSize(reader)
  return {
    term: /^[\w.+-]{1,64}$/.test(term) ? term : 'dumb',
    ...size,
    modes: reader.string(),
  }
}

/** Columns and rows. The size in pixels, which follows them, is not used. */
function readSize(reader: Reader): { readonly cols: number; readonly rows: number } {
  const clamp = (value: number, fallback: number) => Math.min(value || fallback, sizeMax)
  const cols = clamp(reader.u32(), 80)
  const rows = clamp(reader.u32(), 24)
  reader.u32()
  reader.u32()
  return { cols, rows }
}

function isThere(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
