import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { pino } from 'pino'
import { connectUpstream, formatPublicKey, Writer } from '../src/ssh/index.ts'
import { publicKeyBlob } from '../src/ssh/public-key.ts'
import type { Arena, Way } from './arena.ts'
import { certifiedName, openCertifiedTarget } from './certified-target.ts'
import { median } from './statistics.ts'

/** Whole logins, each with a command that does nothing, by a client that knows ML-KEM. */
export interface PostQuantum {
  readonly way: Way['name']
  /** What we show the target: the tenant's RSA key, or an Ed25519 certificate made for the login. */
  readonly by: 'key' | 'certificate'
  readonly perSecond: number
  /** Processor time of the processes in the middle that are ours, for each; not known of others. */
  readonly cpuMsEach: number | undefined
  /** The same of the database's. */
  readonly databaseMsEach: number | undefined
}

const atOnce = 4

/**
 * Our own client, in this process, does the same to each: it offers mlkem768x25519-sha256 first. An
 * OpenSSH that does not know it does with it what it can, and between its hops what it prefers.
 */
export async function measurePostQuantum(
  arena: Arena,
  {
    count,
    rounds,
    warmUp,
    say,
  }: { count: number; rounds: number; warmUp: number; say: (text: string) => void },
): Promise<PostQuantum[]> {
  const { privateKey } = generateKeyPairSync('ed25519')
  const blob = publicKeyBlob(privateKey)
  const line = formatPublicKey({ type: 'ssh-ed25519', blob }, 'bench')
  for (const sshd of arena.servers) sshd.authorize(line)
  const file = join(arena.target.directory, 'bench.pub')
  writeFileSync(file, `${line}\n`)
  await arena.vaultterm.json('key', 'add', 'acme', 'demo', file)
  await using _target = await openCertifiedTarget(arena)
  const certified = ({ endpoint, ...way }: Way): Way => ({
    ...way,
    endpoint: { ...endpoint, user: `acme+${certifiedName}` },
  })
  const ways = arena.ways.flatMap((way): (readonly [PostQuantum['by'], Way])[] => {
    if (way.name === 'direct') return []
    if (way.name === 'double-hop') return [['key', way]]
    return [
      ['key', way],
      ['certificate', certified(way)],
    ]
  })
  const loginsAtOnce = async (way: Way, number: number) => {
    let left = number
    const worker = async () => {
      while (left-- > 0) await login(way, privateKey, blob)
    }
    await Promise.all(Array.from({ length: atOnce }, worker))
  }
  // A bastion runs for weeks: the first hundreds of logins are compiled while they run, and are not it.
  for (const [by, way] of ways) {
    say(`post-quantum logins ${way.name} by ${by}, warming up`)
    await loginsAtOnce(way, way.name === 'vaultterm' ? warmUp : atOnce)
  }
  const samples = ways.map((): { rate: number; cpuMs: number; databaseMs: number }[] => [])
  // In turn: a machine that becomes slower does so for all.
  for (let round = 0; round < rounds; round++) {
    for (const [at, [by, way]] of ways.entries()) {
      say(`post-quantum logins ${way.name} by ${by} ${round + 1}/${rounds}`)
      const before = cpuMsOf(way.pids())
      const databaseBefore = cpuMsOf(way.databasePids())
      const started = performance.now()
      await loginsAtOnce(way, count)
      samples[at]?.push({
        rate: count / ((performance.now() - started) / 1000),
        cpuMs: (cpuMsOf(way.pids()) - before) / count,
        databaseMs: (cpuMsOf(way.databasePids()) - databaseBefore) / count,
      })
    }
  }
  return ways.map(([by, way], at) => {
    const own = samples[at] ?? []
    const isOurs = way.name === 'vaultterm'
    return {
      way: way.name,
      by,
      perSecond: median(own.map(({ rate }) => rate)),
      cpuMsEach: isOurs ? median(own.map(({ cpuMs }) => cpuMs)) : undefined,
      databaseMsEach: isOurs ? median(own.map(({ databaseMs }) => databaseMs)) : undefined,
    }
  })
}

async function login({ endpoint }: Way, privateKey: KeyObject, blob: Buffer): Promise<void> {
  const socket = connect({ host: endpoint.host, port: endpoint.port, noDelay: true })
  await once(socket, 'connect')
  const connection = await connectUpstream({
    socket,
    user: endpoint.user,
    hostKeyTypes: ['ssh-ed25519'],
    verifyHostKey: async () => true,
    key: {
      publicKey: blob,
      sign: async (data, algorithm) =>
        new Writer()
          .text(algorithm)
          .string(sign(null, data, privateKey))
          .build(),
    },
    handshakeMs: 30_000,
    log: pino({ level: 'silent' }),
  })
  const channel = await connection.openChannel('session', Buffer.alloc(0))
  const status = Promise.withResolvers<number>()
  const over = Promise.withResolvers<void>()
  channel.handle({
    data: (chunk) => channel.consumed(chunk.length),
    extendedData: (_kind, chunk) => channel.consumed(chunk.length),
    request: (request) => {
      if (request.name === 'exit-status') status.resolve(request.payload.readUInt32BE(0))
      request.reply(true)
    },
    eof: () => {},
    close: () => {
      status.resolve(-1)
      over.resolve()
    },
  })
  await channel.request('exec', new Writer().text('true').build(), true)
  const code = await status.promise
  channel.close()
  await over.promise
  connection.disconnect(11, 'done')
  await connection.done
  if (code !== 0) throw new Error(`a login at ${endpoint.user}@${endpoint.port} ended with ${code}`)
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0)
const cpuMsOf = (pids: readonly number[]) => sum(pids.map(cpuMs))

/** Of a process, its threads, and its children that have ended; in steps of 10 ms, as Linux counts. */
function cpuMs(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return sum(fields.slice(11, 15).map(Number)) * 10
  } catch {
    return 0
  }
}
