import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Arena } from './arena.ts'

export interface Stall {
  /** What one more client costs that takes nothing in the middle of a flood. */
  readonly mibEach: number
}

const clients = 5
const floodMs = 1000
const settleMs = 4000

/** Whether PuTTY's programs are here: no client of OpenSSH opens a window of 2^31. */
export function canStall(): boolean {
  return ['plink', 'puttygen'].every((name) => spawnSync(name, ['--version']).error === undefined)
}

/** Stops PuTTY clients, whose window is 2^31, in the middle of a flood, and watches our memory. */
export async function measureStall(
  { vaultterm }: Arena,
  { say }: { say: (text: string) => void },
): Promise<Stall> {
  const key = join(vaultterm.home, 'demo/demo_ed25519')
  const ppk = join(vaultterm.home, 'stall.ppk')
  execFileSync('puttygen', [key, '-O', 'private', '-o', ppk])
  const hostKey = readFileSync(join(vaultterm.home, 'demo/known_hosts'), 'utf8')
    .split('\n')
    .find((line) => line.includes('ssh-ed25519'))
    ?.split(' ')
    .slice(1, 3)
    .join(' ')
  const fingerprint = execFileSync('ssh-keygen', ['-lf', '-'], { input: hostKey, encoding: 'utf8' })
  const flood = () =>
    spawn(
      'plink',
      [
        ...['-ssh', '-batch', '-i', ppk, '-P', vaultterm.sshPort, '-l', 'acme+real'],
        ...['-hostkey', fingerprint.split(' ')[1] ?? '', '127.0.0.1', 'cat /dev/zero'],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
  const children: ChildProcess[] = []
  const stall = async () => {
    const child = flood()
    children.push(child)
    await new Promise((resolve, reject) => {
      child.stdout.once('data', resolve)
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`plink ended with ${code}`)))
    })
    // In mid-flood: let it fill what it can.
    child.stdout.resume()
    await new Promise((done) => setTimeout(done, floodMs))
    child.kill('SIGSTOP')
  }
  try {
    // What any flood makes the heap grow to is no cost of a client that stalls: the first one pays it.
    say('a client that takes nothing')
    await stall()
    await new Promise((done) => setTimeout(done, settleMs))
    const before = resident(vaultterm.pid)
    for (let count = 1; count <= clients; count++) {
      say(`clients that take nothing ${count}/${clients}`)
      await stall()
    }
    await new Promise((done) => setTimeout(done, settleMs))
    return { mibEach: (resident(vaultterm.pid) - before) / clients / 1024 ** 2 }
  } finally {
    for (const child of children) child.kill('SIGKILL')
  }
}

function resident(pid: number): number {
  return (
    Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
  )
}
