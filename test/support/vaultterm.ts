import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fillHome } from './begun-homes.ts'
import { runCommand } from './commands.ts'

/** What `up --json` and `serve --json` print when they accept connections. */
export interface Ready {
  readonly event: 'ready'
  readonly ssh: string
  readonly portal: string
  readonly admin: string
  readonly home: string
}

export interface Finished {
  readonly stdout: string
  readonly stderr: string
  readonly code: number | null
}

const root = resolve(import.meta.dirname, '../..')
const program = join(root, 'bin/vaultterm')

/** Settings of the shell that runs the tests, except for the ciphers: whole runs are made without native ones. */
const settings = /^(VAULTTERM_(?!NATIVE_CIPHERS$)|DATABASE_URL$|REDIS_URL$|NODE_OPTIONS$)/

/** The whole program, as a stranger runs it: its own process, its own state directory, free ports. */
export class VaultTerm {
  readonly home: string
  readonly #env: NodeJS.ProcessEnv
  #process: ChildProcess | undefined
  #exited: Promise<number | null> = Promise.resolve(null)
  ready!: Ready
  stderr = ''
  /** Hears all of stderr, of which only the last megabyte is kept. */
  onStderr: ((text: string) => void) | undefined

  constructor(env: Record<string, string> = {}, home?: string) {
    this.home = home ?? mkdtempSync(join(tmpdir(), 'vaultterm-e2e-'))
    this.#env = {
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !settings.test(name))),
      VAULTTERM_HOME: this.home,
      VAULTTERM_SSH_LISTEN: '127.0.0.1:0',
      VAULTTERM_PORTAL_LISTEN: '127.0.0.1:0',
      VAULTTERM_ADMIN_LISTEN: '127.0.0.1:0',
      VAULTTERM_LOG: 'info',
      ...env,
    }
  }

  /** One that serves, with the demo. In a run of tests it is not the first start of its home. */
  static async start(env: Record<string, string> = {}): Promise<VaultTerm> {
    const vaultterm = new VaultTerm(env)
    await fillHome(vaultterm.home, async (home) => {
      const first = new VaultTerm({}, home)
      await first.up()
      first.signal('SIGTERM')
      const code = await first.exited()
      if (code !== 0) throw new Error(`the first start of a home ended with ${code}`)
    })
    await vaultterm.up()
    return vaultterm
  }

  /** The same with keys and a database of its own. */
  static async startNew(env: Record<string, string> = {}): Promise<VaultTerm> {
    const vaultterm = new VaultTerm(env)
    await vaultterm.up()
    return vaultterm
  }

  /** Starts `up` and waits until it accepts connections. */
  async up(...args: string[]): Promise<Ready> {
    const child = spawn(program, ['up', '--json', ...args], {
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#process = child
    child.stderr.on('data', (chunk: Buffer) => {
      this.stderr = (this.stderr + chunk.toString()).slice(-1_000_000)
      this.onStderr?.(chunk.toString())
    })
    this.#exited = endOf(child)
    const lines = createInterface({ input: child.stdout })
    const line = await Promise.race([
      new Promise<string>((done) => lines.once('line', done)),
      this.#exited.then((code) => {
        throw new Error(`up ended with ${code} before it was ready:\n${this.stderr}`)
      }),
    ])
    this.ready = JSON.parse(line) as Ready
    return this.ready
  }

  get pid(): number {
    const pid = this.#process?.pid
    if (pid === undefined) throw new Error('not running')
    return pid
  }

  /** The processes that parse strangers' bytes, as the system lists them. */
  get workers(): readonly number[] {
    return execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' })
      .split('\n')
      .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line))
      .filter((parts) => Number(parts?.[2]) === this.pid && parts?.[3]?.includes('main/worker'))
      .map((parts) => Number(parts?.[1]))
  }

  get alive(): boolean {
    return this.#process?.exitCode === null && this.#process.signalCode === null
  }

  get sshPort(): string {
    return this.ready.ssh.split(':').at(-1) ?? ''
  }

  /** Runs one of the operator's commands on this installation, in the process that runs all of them. */
  cli(args: readonly string[], input = '', env: NodeJS.ProcessEnv = {}): Promise<Finished> {
    return runCommand(args, input, { ...this.#env, ...env })
  }

  /** The same as a stranger runs it: the launcher, and a process of its own. */
  launch(args: readonly string[], input?: string, env: NodeJS.ProcessEnv = {}): Promise<Finished> {
    return run(program, args, { ...this.#env, ...env }, input)
  }

  /** The same with --json, its answer read; a failed command throws what it said. */
  async json<T = unknown>(...args: string[]): Promise<T> {
    const { stdout, stderr, code } = await this.cli([...args, '--json'])
    if (code !== 0) throw new Error(`vaultterm ${args.join(' ')}: ${code}\n${stderr}`)
    return JSON.parse(stdout) as T
  }

  /** Runs one that goes on until it is told to end, and hears its lines. Gives what ends it. */
  follow(args: readonly string[], onLine: (line: string) => void): () => Promise<void> {
    const child = spawn(program, args, { env: this.#env, stdio: ['ignore', 'pipe', 'ignore'] })
    createInterface({ input: child.stdout }).on('line', onLine)
    const ended = new Promise<void>((done) => child.once('exit', () => done()))
    return () => {
      child.kill('SIGTERM')
      return ended
    }
  }

  /** The demo user's `ssh`, with a time limit. */
  ssh(args: readonly string[], input?: string | Buffer, timeoutMs = 60_000): Promise<Finished> {
    return run(
      'ssh',
      ['-F', join(this.home, 'demo/ssh_config'), ...args],
      this.#env,
      input,
      timeoutMs,
    )
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal)
  }

  exited(): Promise<number | null> {
    return this.#exited
  }

  /** kill -9, as a power cut would be to this process. */
  async crash(): Promise<void> {
    this.signal('SIGKILL')
    await this.#exited
  }

  /** Stops it and removes its state. */
  async close(): Promise<void> {
    if (this.alive) {
      this.signal('SIGTERM')
      this.signal('SIGTERM')
      await this.#exited
    }
    rmSync(this.home, { recursive: true, force: true })
  }
}

/** Its exit status, once all that it has said is read; not for longer if others hold its stderr open. */
function endOf(child: ChildProcess): Promise<number | null> {
  const closed = once(child, 'close')
  return new Promise((done) =>
    child.once('exit', async (code) => {
      await Promise.race([closed, sleep(2000, undefined, { ref: false })])
      done(code)
    }),
  )
}

function run(
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  input?: string | Buffer,
  timeoutMs = 60_000,
): Promise<Finished> {
  return new Promise((done) => {
    const child = execFile(
      file,
      [...args],
      {
        env,
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        maxBuffer: 256 * 1048576,
        encoding: 'utf8',
      },
      (err, stdout, stderr) => {
        const code = err === null ? 0 : typeof err.code === 'number' ? err.code : null
        done({ stdout, stderr, code })
      },
    )
    // Who has ended reads no more: its code says what there is to say.
    child.stdin?.on('error', () => {})
    if (input === undefined) child.stdin?.end()
    else child.stdin?.end(input)
  })
}
