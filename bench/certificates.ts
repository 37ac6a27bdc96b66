import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Arena } from './arena.ts'
import { certifiedName, openCertifiedTarget } from './certified-target.ts'
import { median } from './statistics.ts'

/** What it takes to sign a certificate, with its serial and its event committed before. */
export interface Certificates {
  readonly meanMs: number
  /** What of it is the disk's: its commit waits for one sync, as long as this in the same place. */
  readonly syncMs: number
  readonly count: number
}

/** Logs in to a target that takes certificates, and asks the bastion how long each issue took. */
export async function measureCertificates(
  arena: Arena,
  { count, say }: { count: number; say: (text: string) => void },
): Promise<Certificates> {
  const { vaultterm } = arena
  await using _target = await openCertifiedTarget(arena)
  const before = await issued(vaultterm.ready.portal)
  for (let i = 0; i < count; i++) {
    say(`certificates ${i + 1}/${count}`)
    const { code, stderr } = await vaultterm.ssh([`acme+${certifiedName}`, 'true'])
    if (code !== 0) throw new Error(`a login with a certificate ended with ${code}: ${stderr}`)
  }
  const after = await issued(vaultterm.ready.portal)
  const issues = after.count - before.count
  return {
    meanMs: ((after.seconds - before.seconds) / issues) * 1000,
    syncMs: measureSync(join(vaultterm.home, 'bench-sync')),
    count: issues,
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
