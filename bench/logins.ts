import { spawn } from 'node:child_process'
import type { Arena, Way } from './arena.ts'
import type { CpuMeter } from './cpu-meter.ts'
import { median } from './statistics.ts'

export interface Logins {
  readonly way: Way['name']
  readonly perSecond: number
  readonly cpuMsEach: number
}

const atOnce = 4

/** How many whole `ssh host true` a second, and what each costs in processor time. */
export async function measureLogins(
  arena: Arena,
  cpu: CpuMeter,
  { count, rounds, say }: { count: number; rounds: number; say: (text: string) => void },
): Promise<Logins[]> {
  const runs = new Map<Way['name'], { perSecond: number[]; cpuMs: number[] }>()
  for (let round = 0; round < rounds; round++) {
    for (const way of arena.ways) {
      say(`logins ${way.name} ${round + 1}/${rounds}`)
      const cpuBefore = cpu.read()
      const started = performance.now()
      let left = count
      const worker = async () => {
        while (left-- > 0) await login(way)
      }
      await Promise.all(Array.from({ length: atOnce }, worker))
      const seconds = (performance.now() - started) / 1000
      const run = runs.get(way.name) ?? { perSecond: [], cpuMs: [] }
      run.perSecond.push(count / seconds)
      run.cpuMs.push(((cpu.read() - cpuBefore) / count) * 1000)
      runs.set(way.name, run)
    }
  }
  return [...runs].map(([way, run]) => ({
    way,
    perSecond: median(run.perSecond),
    cpuMsEach: median(run.cpuMs),
  }))
}

function login(way: Way): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('ssh', [...way.ssh, 'true'], { stdio: ['ignore', 'ignore', 'inherit'] })
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`a login by ${way.name} ended with ${code}`)),
    )
  })
}
