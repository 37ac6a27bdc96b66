import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Arena, Way } from './arena.ts'
import type { CpuMeter } from './cpu-meter.ts'
import { median } from './statistics.ts'

/** What carries the bytes: a command's output and input, a file by sftp, a forward. */
export type Carrier = 'exec' | 'sftp' | 'forward'

export interface Throughput {
  readonly cipher: string
  readonly carrier: Carrier
  readonly direction: 'down' | 'up'
  readonly way: Way['name']
  readonly cpuSecondsPerGiB: number
  readonly wallSecondsPerGiB: number
}

const runs: readonly (readonly [string, Carrier])[] = [
  ['aes128-gcm@openssh.com', 'exec'],
  ['aes128-gcm@openssh.com', 'sftp'],
  ['aes128-gcm@openssh.com', 'forward'],
  ['chacha20-poly1305@openssh.com', 'exec'],
]

/** Processor and wall seconds for a GiB each way, by each carrier; ways take turns. */
export async function measureThroughput(
  arena: Arena,
  cpu: CpuMeter,
  { bytes, rounds, say }: { bytes: number; rounds: number; say: (text: string) => void },
): Promise<Throughput[]> {
  await using ends = await openEnds(arena, bytes)
  const results: Throughput[] = []
  for (const [cipher, carrier] of runs) {
    arena.setCipher(cipher)
    for (const direction of ['down', 'up'] as const) {
      const found = new Map<Way['name'], { cpu: number[]; wall: number[] }>()
      for (let round = 0; round < rounds; round++) {
        for (const way of arena.ways) {
          say(`${cipher} ${carrier} ${direction} ${way.name} ${round + 1}/${rounds}`)
          const cpuBefore = cpu.read()
          const started = performance.now()
          await run(ends.commandFor(way, cipher, carrier, direction), `${way.name} ${carrier}`)
          const wall = (performance.now() - started) / 1000
          const one = found.get(way.name) ?? { cpu: [], wall: [] }
          one.cpu.push(cpu.read() - cpuBefore)
          one.wall.push(wall)
          found.set(way.name, one)
        }
      }
      const perGiB = 1024 ** 3 / bytes
      for (const [way, one] of found) {
        results.push({
          cipher,
          carrier,
          direction,
          way,
          cpuSecondsPerGiB: median(one.cpu) * perGiB,
          wallSecondsPerGiB: median(one.wall) * perGiB,
        })
      }
    }
  }
  return results
}

/** What is at the far end: a file, and a server that sends so much, or takes all that comes. */
async function openEnds(arena: Arena, bytes: number) {
  const { directory } = arena.target
  const file = join(directory, 'zeros')
  writeFileSync(file, '')
  truncateSync(file, bytes)
  const chunk = Buffer.alloc(256 * 1024)
  const source = createServer({ allowHalfOpen: true }, (socket) => {
    let left = bytes
    const send = () => {
      while (left > 0) {
        const part = chunk.subarray(0, Math.min(left, chunk.length))
        left -= part.length
        if (!socket.write(part)) return void socket.once('drain', send)
      }
      socket.end()
    }
    socket.on('error', () => socket.destroy())
    socket.resume()
    send()
  })
  const sink = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy())
    socket.on('end', () => socket.end())
    socket.resume()
  })
  const ports: number[] = []
  for (const server of [source, sink]) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no address')
    ports.push(address.port)
  }
  const [sourcePort = 0, sinkPort = 0] = ports

  function commandFor(
    way: Way,
    cipher: string,
    carrier: Carrier,
    direction: 'down' | 'up',
  ): string {
    const ssh = quoted(['ssh', '-c', cipher, ...way.ssh])
    const zeros = `head -c ${bytes} /dev/zero`
    if (carrier === 'exec') {
      return direction === 'down'
        ? `${ssh} '${zeros}' > /dev/null`
        : `${zeros} | ${ssh} 'cat > /dev/null'`
    }
    if (carrier === 'forward') {
      const to = `127.0.0.1:${direction === 'down' ? sourcePort : sinkPort}`
      const carried = quoted(['ssh', '-c', cipher, '-W', to, ...way.forward(cipher)])
      return direction === 'down'
        ? `${carried} > /dev/null < /dev/null`
        : `${zeros} | ${carried} > /dev/null`
    }
    const script = join(directory, `sftp-${way.name}`)
    writeFileSync(
      script,
      `#!/bin/sh\nexec ${quoted(['ssh', '-c', cipher, '-s', ...way.ssh, 'sftp'])}\n`,
    )
    chmodSync(script, 0o755)
    const copy = join(directory, `copy-${way.name}`)
    const batch = direction === 'down' ? `get ${file} ${copy}` : `put ${file} ${copy}`
    return `echo ${quoted([batch])} | sftp -q -b - -D ${quoted([script])} > /dev/null`
  }

  return {
    commandFor,
    async [Symbol.asyncDispose]() {
      source.close()
      sink.close()
    },
  }
}

function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
}

function run(command: string, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', command], { stdio: ['ignore', 'ignore', 'inherit'] })
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`${what} ended with ${code}`)),
    )
  })
}
