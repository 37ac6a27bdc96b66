import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatPublicKey, parsePublicKeyBlob, publicKeyBlob } from '../../src/ssh/index.ts'
import { metric } from '../support/installation.ts'
import { VaultTerm } from '../support/vaultterm.ts'
import { startHonestTarget } from './honest-target.ts'

/** What is fuzzed, seen from outside its process. */
export interface Subject {
  readonly port: number
  readonly pid: number
  /** Somebody whom it lets in: the private key in PEM, and the user name that opens a good target. */
  readonly key: string
  readonly user: string
  readonly exited: Promise<number | null>
  /** Hears whatever it writes to stderr. */
  onStderr: ((text: string) => void) | undefined
  /** A person logs in and gets what they came for. Rejects when they do not. */
  login(): Promise<void>
  /** Whether it says that it is ready. */
  ready(): Promise<boolean>
  /** What it has open now, by name: nothing, once everybody has left. */
  open(): Promise<Readonly<Record<string, number>>>
  /** What its workers were accused of and killed for, by name: nothing, for all that outsiders did. */
  accused(): Promise<Readonly<Record<string, number>>>
  /** Makes a target known; the answer is the user name that opens it. */
  addTarget(port: number, hostKey: string): Promise<string>
  close(): Promise<void>
}

const accusations = ['bastion_worker_requests_forged_total', 'bastion_workers_killed_total']
const gauges = ['bastion_connections', 'bastion_sessions', 'bastion_upstream_connections']

/** The real program with everything around it, and a user of ours. */
export async function startVaultTerm(): Promise<Subject> {
  const vaultterm = await VaultTerm.start({ VAULTTERM_LOG: 'warn' })
  const { privateKey } = generateKeyPairSync('ed25519')
  const keyFile = join(vaultterm.home, 'fuzz.pub')
  writeFileSync(keyFile, `${publicLine(privateKey)}\n`)
  await vaultterm.json('user', 'add', 'acme', 'fuzz')
  await vaultterm.json('key', 'add', 'acme', 'fuzz', keyFile)
  const addTarget = async (name: string, port: number, hostKey: string) => {
    const hostKeyFile = join(vaultterm.home, `${name}.pub`)
    writeFileSync(hostKeyFile, `${hostKey}\n`)
    await vaultterm.json(
      ...['target', 'add', 'acme', name, '--host', '127.0.0.1', '--port', String(port)],
      ...['--login', 'root', '--host-key', hostKeyFile],
    )
    await vaultterm.json('grant', 'add', 'acme', '--user', 'fuzz', '--target', name)
    return `acme+${name}`
  }
  const honest = await startHonestTarget()
  await addTarget('honest', honest.port, honest.hostKey)
  await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', 'honest')
  const figures = async (names: readonly string[]) => {
    const counts = names.map(async (name) => [name, await metric(vaultterm, name)] as const)
    return Object.fromEntries(await Promise.all(counts))
  }
  const subject: Subject = {
    port: Number(vaultterm.sshPort),
    pid: vaultterm.pid,
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    user: 'acme+honest',
    exited: vaultterm.exited(),
    onStderr: undefined,
    async login() {
      const { stdout, stderr, code } = await vaultterm.ssh(['acme+honest', 'well'])
      if (stdout !== 'well\n') throw new Error(`ssh ended with ${code}: ${stderr}`)
    },
    async ready() {
      // On a busy machine one of its own checks may be late. The watchdog says when it stays so.
      while (!(await fetch(`${vaultterm.ready.portal}/readyz`)).ok) await sleep(250)
      return true
    },
    open: () => figures(gauges),
    accused: () => figures(accusations),
    addTarget: (port, hostKey) => addTarget(`hostile-${port}`, port, hostKey),
    async close() {
      await vaultterm.close()
      honest.close()
    },
  }
  vaultterm.onStderr = (text) => subject.onStderr?.(text)
  return subject
}

function publicLine(key: KeyObject): string {
  const parsed = parsePublicKeyBlob(publicKeyBlob(key))
  if (!('key' in parsed)) throw new Error(parsed.problem)
  return formatPublicKey(parsed.key)
}

/**
 * The memory of a process and of all that it has started, in bytes: of Node's alone, since what a
 * database keeps for itself is no leak. Undefined where /proc does not tell.
 */
export function memoryOf(pid: number): number | undefined {
  try {
    const family = new Set([pid])
    const parents = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => {
        const stat = readProc(name, 'stat')
        const parent = Number(stat?.slice(stat.lastIndexOf(')') + 4).split(' ')[0])
        return stat === undefined ? [] : [{ pid: Number(name), parent }]
      })
    for (let known = 0; known < family.size; ) {
      known = family.size
      for (const one of parents) if (family.has(one.parent)) family.add(one.pid)
    }
    return [...family].filter(isNode).reduce((sum, one) => sum + residentBytes(one), 0)
  } catch {
    return undefined
  }
}

function isNode(pid: number): boolean {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`)).startsWith('node')
  } catch {
    return false
  }
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readProc(String(pid), 'status') ?? '')?.[1] ?? 0) * 1024
}

/** What has ended meanwhile says nothing. */
function readProc(pid: string, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return undefined
  }
}
