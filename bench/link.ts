import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../test/support/free-port.ts'
import { addTarget, makeKey } from '../test/support/installation.ts'
import { Sshd } from '../test/support/sshd.ts'
import { VaultTerm } from '../test/support/vaultterm.ts'
import { median } from './statistics.ts'

/** `scp` by a client on another machine, as far as the network can tell. */
export interface LinkTransfer {
  readonly direction: 'down' | 'up'
  readonly way: 'direct' | 'vaultterm'
  readonly mibPerSecond: number
}

export const linkRate = '1gbit'
const ours = '10.203.7.1'
const theirs = '10.203.7.2'

/** Whether this machine lets us make one: it takes root, iproute2, and a kernel that has the parts. */
export function canLink(): boolean {
  if (process.getuid?.() !== 0) return false
  const made = spawnSync('ip', ['netns', 'add', namespace])
  spawnSync('ip', ['netns', 'delete', namespace])
  return made.status === 0 && spawnSync('tc', ['-V']).status === 0
}

const namespace = `vaultterm-bench-${process.pid}`

/**
 * A file by scp, straight to a server and through us, over a link that is no faster than such links
 * are: on one machine, where all of them share its processors, each way is slower by what it costs.
 */
export async function measureLink({
  bytes,
  rounds,
  say,
}: {
  bytes: number
  rounds: number
  say: (text: string) => void
}): Promise<LinkTransfer[]> {
  const port = await freePort()
  openLink()
  const target = await Sshd.start([`ListenAddress ${ours}:${port}`])
  const vaultterm = await VaultTerm.start({
    VAULTTERM_LOG: 'warn',
    VAULTTERM_SSH_LISTEN: `${ours}:0`,
  })
  try {
    await addTarget(vaultterm, target)
    const key = makeKey(vaultterm, 'link')
    target.authorize(readFileSync(`${key}.pub`, 'utf8').trim())
    const file = join(target.directory, 'file')
    writeFileSync(file, '')
    truncateSync(file, bytes)
    const copy = join(target.directory, 'copy')
    copyFileSync(file, copy)
    const trusting = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR']
    const options = trusting.flatMap((option) => ['-o', option])
    const ways = {
      direct: {
        args: ['-F', 'none', ...options, '-i', key, '-P', String(port)],
        host: `${target.login}@${ours}`,
      },
      vaultterm: { args: ['-F', join(vaultterm.home, 'demo/ssh_config')], host: 'acme+real' },
    } as const
    const times = new Map<string, number[]>()
    for (let round = 0; round < rounds; round++) {
      for (const direction of ['down', 'up'] as const) {
        for (const way of ['direct', 'vaultterm'] as const) {
          say(`scp over ${linkRate} ${direction} ${way} ${round + 1}/${rounds}`)
          const { args, host } = ways[way]
          const paths = direction === 'down' ? [`${host}:${file}`, copy] : [copy, `${host}:${file}`]
          const started = performance.now()
          await scp([...args, '-q', '-c', 'aes128-gcm@openssh.com', ...paths])
          const seconds = (performance.now() - started) / 1000
          const name = `${direction} ${way}`
          times.set(name, [...(times.get(name) ?? []), seconds])
        }
      }
    }
    return (['down', 'up'] as const).flatMap((direction) =>
      (['direct', 'vaultterm'] as const).map((way) => ({
        direction,
        way,
        mibPerSecond: bytes / 2 ** 20 / median(times.get(`${direction} ${way}`) ?? []),
      })),
    )
  } finally {
    await vaultterm.close()
    await target.close()
    spawnSync('ip', ['netns', 'delete', namespace])
  }
}

function openLink(): void {
  const inside = ['netns', 'exec', namespace, 'ip']
  const [near, far] = [`vtb${process.pid % 10_000}a`, `vtb${process.pid % 10_000}b`]
  const shape = ['root', 'tbf', 'rate', linkRate, 'burst', '128k', 'latency', '20ms']
  ip('netns', 'add', namespace)
  ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far, 'netns', namespace)
  ip('address', 'add', `${ours}/30`, 'dev', near)
  ip('link', 'set', near, 'up')
  ip(...inside, 'address', 'add', `${theirs}/30`, 'dev', far)
  ip(...inside, 'link', 'set', far, 'up')
  execFileSync('tc', ['qdisc', 'add', 'dev', near, ...shape])
  ip('netns', 'exec', namespace, 'tc', 'qdisc', 'add', 'dev', far, ...shape)
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args)
}

function scp(args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('ip', ['netns', 'exec', namespace, 'scp', ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`scp ended with ${code}`)),
    )
  })
}
