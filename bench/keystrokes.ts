import { SshTerminal } from '../test/support/ssh-terminal.ts'
import type { Arena, Way } from './arena.ts'
import { percentile } from './statistics.ts'

export interface Keystrokes {
  readonly way: Way['name']
  /** From a key typed to its echo shown. */
  readonly p50Ms: number
  readonly p99Ms: number
}

const pauseMs = 4

/** The time from a key to its echo, on a terminal whose far end gives each byte back. */
export async function measureKeystrokes(
  arena: Arena,
  { count, say }: { count: number; say: (text: string) => void },
): Promise<Keystrokes[]> {
  const terminals = arena.ways.map((way) => ({
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
