import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { freePort } from './free-port.ts'

/**
 * Whether the server can give terminals. Without root it can hand none to the group `tty`, which new
 * ones have by themselves on most machines, but not in every container; tests of terminals are skipped.
 */
export const givesTerminals =
  process.getuid?.() === 0 ||
  /^\S+ \/dev\/pts devpts \S*\bgid=\d+/m.test(readFileSync('/proc/mounts', 'utf8'))

/** A real OpenSSH server on a free port, with keys and settings of its own. */
export class Sshd {
  readonly directory = mkdtempSync(join(tmpdir(), 'vaultterm-sshd-'))
  readonly host = '127.0.0.1'
  readonly port: number
  /** Who may log in: whoever runs the tests. */
  readonly login = userInfo().username
  /** Take hold at the next start. */
  readonly settings: string[]
  #process: ChildProcess | undefined

  private constructor(port: number, settings: readonly string[]) {
    this.port = port
    this.settings = [...settings]
    // sshd looks at who owns what is above its files; a world-writable /tmp is not ours to change.
    chmodSync(this.directory, 0o755)
    this.newHostKey()
    writeFileSync(join(this.directory, 'authorized_keys'), '', { mode: 0o644 })
    mkdirSync(join(this.directory, 'home'))
  }

  static async start(settings: readonly string[] = []): Promise<Sshd> {
    const sshd = new Sshd(await freePort(), settings)
    await sshd.up()
    return sshd
  }

  /** The `.pub` file of its host key. */
  get hostKeyFile(): string {
    return join(this.directory, 'host_key.pub')
  }

  get hostKey(): string {
    return readFileSync(this.hostKeyFile, 'utf8').trim()
  }

  /** Another machine at the same address, as far as anybody can tell. Takes hold at the next start. */
  newHostKey(type: 'ed25519' | 'ecdsa' = 'ed25519'): void {
    const file = join(this.directory, 'host_key')
    for (const old of [file, `${file}.pub`]) rmSync(old, { force: true })
    execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', 'test', '-f', file])
  }

  /** Lets the holder of a key log in. */
  authorize(line: string): void {
    writeFileSync(join(this.directory, 'authorized_keys'), `${line}\n`, { flag: 'a' })
  }

  /** Takes every key away. */
  forget(): void {
    writeFileSync(join(this.directory, 'authorized_keys'), '')
  }

  async up(): Promise<void> {
    const file = join(this.directory, 'sshd_config')
    writeFileSync(file, [...this.settings, ...this.#config()].join('\n'))
    // Where it separates privileges; its package makes it at boot, which no test waits for.
    if (process.getuid?.() === 0 && !existsSync('/run/sshd'))
      mkdirSync('/run/sshd', { mode: 0o755 })
    const child = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', file], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#process = child
    let said = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-20_000)
    })
    for (const until = performance.now() + 60_000; performance.now() < until; ) {
      if (child.exitCode !== null) throw new Error(`sshd ended with ${child.exitCode}:\n${said}`)
      if (await answers(this.port)) return
      await new Promise((done) => setTimeout(done, 25))
    }
    throw new Error(`sshd does not answer:\n${said}`)
  }

  /** Ends the listener; sessions that are open go on. */
  async down(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((done) => child.once('exit', done))
    child.kill('SIGTERM')
    await ended
  }

  async close(): Promise<void> {
    await this.down()
    // A session that was cut off may still be writing there.
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  }

  #config(): readonly string[] {
    return [
      `ListenAddress ${this.host}:${this.port}`,
      `HostKey ${join(this.directory, 'host_key')}`,
      `AuthorizedKeysFile ${join(this.directory, 'authorized_keys')}`,
      'PidFile none',
      'UsePAM no',
      'StrictModes no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin yes',
      'PrintMotd no',
      'PrintLastLog no',
      'MaxStartups 1000',
      'MaxSessions 1000',
      ...(punishesSources() ? ['PerSourcePenalties no'] : []),
      'AcceptEnv *',
      // The start-up files of whoever runs the tests are not run: they may take a second, and a lock.
      `SetEnv HOME=${join(this.directory, 'home')}`,
      'Subsystem sftp internal-sftp',
      '',
    ]
  }
}

/** From 9.8 on sshd shuts out an address that fails to log in, as tests do on purpose. */
function punishesSources(): boolean {
  const { stderr } = spawnSync('/usr/sbin/sshd', ['-V'], { encoding: 'utf8' })
  const [, major = 0, minor = 0] = (/^OpenSSH_(\d+)\.(\d+)/.exec(stderr) ?? []).map(Number)
  return major > 9 || (major === 9 && minor >= 8)
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('error', () => resolve(false))
    socket.once('close', () => resolve(false))
    socket.once('data', () => {
      socket.destroy()
      resolve(true)
    })
  })
}
