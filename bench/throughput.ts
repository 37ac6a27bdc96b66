import { spawn } from 'node:child_process'
import type { Arena, Way } from './arena.ts'
import type { CpuMeter } from './cpu-meter.ts'
import { median } from './statistics.ts'

export interface Throughput {
  readonly cipher: string
  readonly direction: 'down' | 'up'
  readonly way: Way['name']
  readonly cpuSecondsPerGiB: number
  readonly wallSecondsPerGiB: number
}

const ciphers = ['aes128-gcm@openssh.com', 'chacha20-poly1305@openssh.com']

/** Processor and wall seconds for a GiB of exec output, and of input; ways take turns. */
export async function measureThroughput(
  arena: Arena,
  cpu: CpuMeter,
  { bytes, rounds, say }: { bytes: number; rounds: number; say: (text: string) => void },
): Promise<Throughput[]> {
  const results: Throughput[] = []
  for (const cipher of ciphers) {
    arena.setCipher(cipher)
    for (const direction of ['down', 'up'] as const) {
      const runs = new Map<Way['name'], { cpu: number[]; wall: number[] }>()
      for (let round = 0; round < rounds; round++) {
        for (const way of arena.ways) {
          say(`${cipher} ${direction} ${way.name} ${round + 1}/${rounds}`)
          const cpuBefore = cpu.read()
          const started = performance.now()
          await transfer(way, cipher, direction, bytes)
          const wall = (performance.now() - started) / 1000
          const run = runs.get(way.name) ?? { cpu: [], wall: [] }
          run.cpu.push(cpu.read() - cpuBefore)
          run.wall.push(wall)
          runs.set(way.name, run)
        }
      }
      const perGiB = 1024 ** 3 / bytes
      for (const [way, run] of runs) {
        results.push({
          cipher,
          direction,
          way,
          cpuSecondsPerGiB: median(run.cpu) * perGiB,
          wallSecondsPerGiB: median(run.wall) * perGiB,
        })
      }
    }
  }
  return results
}

function transfer(
  way: Way,
  cipher: string,
  direction: 'down' | 'up',
  bytes: number,
): Promise<void> {
  const ssh = ['ssh', '-c', cipher, ...way.ssh].map((word) => `'${word}'`).join(' ')
  const command =
    direction === 'down'
      ? `${ssh} 'head -c ${bytes} /dev/zero' > /dev/null`
      : `head -c ${bytes} /dev/zero | ${ssh} 'cat > /dev/null'`
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', command], { stdio: ['ignore', 'ignore', 'inherit'] })
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`${way.name} ${direction} ended with ${code}`)),
    )
  })
}
