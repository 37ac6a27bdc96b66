import { randomUUID } from 'node:crypto'
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import { parseConfig } from '../src/config.ts'
import { open } from '../src/main/open.ts'
import type { Arena } from './arena.ts'
import { certifiedName, openCertifiedTarget } from './certified-target.ts'
import { median } from './statistics.ts'

/** What it takes to sign a certificate, with its event on the log before anybody gets it. */
export interface Certificates {
  /** Of one after the other, the median. */
  readonly inARowMs: number
  /** In the login of a single `ssh` on a machine that does nothing else and wakes up for it, the mean. */
  readonly inLoginMs: number
  /** What of either is the disk's: its commit waits for one sync, as long as this in the same place. */
  readonly syncMs: number
  readonly count: number
}

/**
 * Logs in to a target that takes certificates, and asks the bastion how long each issue took; then has
 * its authority issue as many to sessions that there are not.
 */
export async function measureCertificates(
  arena: Arena,
  { count, say }: { count: number; say: (text: string) => void },
): Promise<Certificates> {
  const { vaultterm } = arena
  await using _target = await openCertifiedTarget(arena)
  const login = async () => {
    const { code, stderr } = await vaultterm.ssh([`acme+${certifiedName}`, 'true'])
    if (code !== 0) throw new Error(`a login with a certificate ended with ${code}: ${stderr}`)
  }
  say('certificates, warming up')
  for (let i = 0; i < count; i++) await login()
  const before = await issued(vaultterm.ready.portal)
  for (let i = 0; i < count; i++) {
    say(`certificates ${i + 1}/${count}`)
    await login()
  }
  const after = await issued(vaultterm.ready.portal)
  return {
    inARowMs: await measureInARow(vaultterm.home, count),
    inLoginMs: ((after.seconds - before.seconds) / (after.count - before.count)) * 1000,
    syncMs: measureSync(join(vaultterm.home, 'bench-sync')),
    count: after.count - before.count,
  }
}

/** In this process, as a command opens the product, with the datastores and the keys of the running one. */
async function measureInARow(home: string, count: number): Promise<number> {
  const config = parseConfig({ VAULTTERM_HOME: home })
  const product = await open('the benchmark', config, pino({ level: 'silent' }))
  try {
    const { id } = await product.tenants.find('acme')
    const times: number[] = []
    for (let i = 0; i < 5 * count; i++) {
      const started = performance.now()
      await product.ca.leaseUpstream(id, {
        session: randomUUID(),
        target: randomUUID(),
        login: 'root',
        user: randomUUID(),
        permits: ['permit-pty'],
        expiresInMs: 1000,
      })
      times.push(performance.now() - started)
    }
    return median(times.slice(-count))
  } finally {
    await product.close()
  }
}

async function issued(portal: string): Promise<{ seconds: number; count: number }> {
  const text = await (await fetch(`${portal}/metrics`)).text()
  const value = (name: string) => Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1] ?? 0)
  return {
    seconds: value('bastion_certificate_issue_seconds_sum'),
    count: value('bastion_certificate_issue_seconds_count'),
  }
}

/** The median time until 8 KiB, as a log of Postgres grows by, are on the disk. */
function measureSync(path: string): number {
  const file = openSync(path, 'w')
  try {
    const block = Buffer.alloc(8192, 1)
    const times = Array.from({ length: 101 }, (_, at) => {
      const started = performance.now()
      writeSync(file, block, 0, block.length, (at % 8) * block.length)
      fdatasyncSync(file)
      return performance.now() - started
    })
    return median(times)
  } finally {
    closeSync(file)
  }
}
