import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Arena } from './arena.ts'

export interface Stall {
  /** The most that the process grew while a client that took nothing was flooded. */
  readonly grownMiB: number
}

const warmMs = 3000
const watchMs = 8000

/** Stops a PuTTY client, whose window is 2^31, in the middle of a flood, and watches our memory. */
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
  // What any flood makes the heap grow to is no cost of a client that stalls.
  const warm = flood()
  warm.stdout.resume()
  await new Promise((done) => setTimeout(done, warmMs))
  warm.kill('SIGKILL')
  const child = flood()
  try {
    await new Promise((resolve, reject) => {
      child.stdout.once('data', resolve)
      child.once('exit', (code) => reject(new Error(`plink ended with ${code}`)))
    })
    const before = resident(vaultterm.pid)
    child.kill('SIGSTOP')
    let most = 0
    for (const end = performance.now() + watchMs; performance.now() < end; ) {
      say('a client that takes nothing')
      await new Promise((done) => setTimeout(done, 250))
      most = Math.max(most, resident(vaultterm.pid) - before)
    }
    return { grownMiB: most / 1024 ** 2 }
  } finally {
    child.kill('SIGKILL')
  }
}

function resident(pid: number): number {
  return (
    Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
  )
}
