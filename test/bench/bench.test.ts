import { execFile } from 'node:child_process'
import { expect, test } from 'vitest'

const bench = (...args: readonly string[]) =>
  new Promise<{ stdout: string; stderr: string; code: unknown }>((done) =>
    execFile(process.execPath, ['bench/main.ts', ...args], (err, stdout, stderr) =>
      done({ stdout, stderr, code: err === null ? 0 : err.code }),
    ),
  )

test('measures each way of the three, and prints one JSON document', async () => {
  const { stdout, stderr, code } = await bench('--quick', '--json', '--only', 'throughput,logins')
  expect([code, stderr]).toEqual([0, expect.any(String)])
  const ways = ['direct', 'double-hop', 'vaultterm']
  const report = JSON.parse(stdout)
  expect(report.logins.map(({ way }: { way: string }) => way)).toEqual(ways)
  const transfers: {
    cipher: string
    carrier: string
    direction: string
    way: string
    cpuSecondsPerGiB: number
  }[] = report.throughput
  expect(transfers.map(({ carrier, direction, way }) => `${carrier} ${direction} ${way}`)).toEqual(
    ['exec', 'sftp', 'forward', 'exec'].flatMap((carrier) =>
      ['down', 'up'].flatMap((direction) => ways.map((way) => `${carrier} ${direction} ${way}`)),
    ),
  )
  expect(new Set(transfers.map(({ cipher }) => cipher)).size).toBe(2)
  for (const { cpuSecondsPerGiB } of transfers) expect(cpuSecondsPerGiB).toBeGreaterThan(0)
})

test('says what it can measure, and refuses a name that it does not know before it starts', async () => {
  const { stdout, code } = await bench('--help')
  expect([code, stdout]).toEqual([
    0,
    expect.stringContaining('throughput,logins,post-quantum,keystrokes'),
  ])
  const refused = await bench('--only', 'thruput')
  expect([refused.code, refused.stdout]).toEqual([2, ''])
  expect(refused.stderr).toContain("there is no measurement called 'thruput'")
})
