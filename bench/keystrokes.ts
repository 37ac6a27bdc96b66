import { spawn } from 'node:child_process'
import { SshTerminal } from '../test/support/ssh-terminal.ts'
import type { Arena, Way } from './arena.ts'
import { percentile } from './statistics.ts'

export interface Keystrokes {
  readonly way: Way['name']
  /** Whether another session's output came by the same way as fast as it could. */
  readonly besideFlood: boolean
  /** From a key typed to its echo shown. */
  readonly p50Ms: number
  readonly p99Ms: number
}

const pauseMs = 4
const floodedMs = 2000

/**
 * The time from a key to its echo, on a terminal whose far end gives each byte back: by itself, by all
 * ways in turn, and beside a flood of another session, by one way after the other.
 */
export async function measureKeystrokes(
  arena: Arena,
  { count, say }: { count: number; say: (text: string) => void },
): Promise<Keystrokes[]> {
  const alone = await measureWays(arena.ways, count, say)
  const results = alone.map((one) => ({ ...one, besideFlood: false }))
  for (const way of arena.ways) {
    const flood = spawn('ssh', [...way.ssh, 'cat /dev/zero'], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    try {
      await new Promise((done) => setTimeout(done, floodedMs))
      const beside = await measureWays([way], count, say)
      results.push(...beside.map((one) => ({ ...one, besideFlood: true })))
    } finally {
      flood.kill('SIGKILL')
    }
  }
  return results
}

async function measureWays(
  ways: readonly Way[],
  count: number,
  say: (text: string) => void,
): Promise<Omit<Keystrokes, 'besideFlood'>[]> {
  const terminals = ways.map((way) => ({
    way,
    terminal: new SshTerminal(['-tt', ...way.ssh, 'stty raw -echo; echo ready; exec cat']),
    times: [] as number[],
  }))
  try {
    for (const { terminal } of terminals) await terminal.waitFor(/ready/)
    for (let key = 0; key < count; key++) {
      if (key % 100 === 0) say(`keystrokes ${key}/${count}`)
      for (const { terminal, times } of terminals) {
        await new Promise((done) => setTimeout(done, pauseMs))
        const started = performance.now()
        await terminal.echo('x')
        times.push(performance.now() - started)
      }
    }
  } finally {
    for (const { terminal } of terminals) terminal.close()
  }
  return terminals.map(({ way, times }) => ({
    way: way.name,
    p50Ms: percentile(times, 50),
    p99Ms: percentile(times, 99),
  }))
}
