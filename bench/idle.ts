import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Arena, Way } from './arena.ts'

export interface Idle {
  readonly way: Way['name']
  readonly sessions: number
  readonly mibEach: number
  /** The largest of the processes in the middle that parse SSH, with all sessions open. */
  readonly largestMib: number
}

const batch = 20

/** What one more idle session costs in memory, in the processes in the middle. */
export async function measureIdle(
  arena: Arena,
  { sessions, say }: { sessions: number; say: (text: string) => void },
): Promise<Idle[]> {
  const results: Idle[] = []
  for (const way of arena.ways.filter(({ name }) => name !== 'direct')) {
    // One session before the count starts: what the first one loads belongs to none.
    const children: ChildProcess[] = []
    try {
      await openSessions(way, 1, children)
      await settle()
      const before = memory(way)
      while (children.length <= sessions) {
        say(`idle sessions ${way.name} ${children.length - 1}/${sessions}`)
        await openSessions(way, Math.min(batch, sessions + 1 - children.length), children)
      }
      await settle()
      results.push({
        way: way.name,
        sessions,
        mibEach: (memory(way) - before) / sessions / 1024 ** 2,
        largestMib: Math.max(...way.pids().map(residentMib)),
      })
    } finally {
      for (const child of children) child.kill('SIGKILL')
    }
  }
  return results
}

/** Resolves when each has said that it runs; whoever asks ends them, these and any that failed. */
async function openSessions(way: Way, count: number, children: ChildProcess[]): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async () => {
      const child = spawn('ssh', [...way.ssh, 'echo ready; exec cat'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      children.push(child)
      await new Promise<void>((resolve, reject) => {
        child.stdout.once('data', () => resolve())
        child.once('error', reject)
        child.once('exit', (code) =>
          reject(new Error(`a session by ${way.name} ended with ${code}`)),
        )
      })
    }),
  )
}

function settle(): Promise<void> {
  return new Promise((done) => setTimeout(done, 3000))
}

function residentMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024
}

/** Private memory, and of shared memory each process's part of it. */
function memory(way: Way): number {
  return way.pids().reduce((sum, pid) => {
    try {
      const pss = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]
      return sum + Number(pss ?? 0) * 1024
    } catch {
      return sum
    }
  }, 0)
}
