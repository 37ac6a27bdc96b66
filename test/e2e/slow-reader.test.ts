import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { addGrant, addTarget, eventually, metric } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/**
 * Ten gigabytes to somebody who takes a megabyte a second: what is underway stays within the windows,
 * however long it takes. In CI for some seconds; all of it takes three hours.
 */
const seconds = Number(process.env.VAULTTERM_SOAK_SECONDS ?? 12)
const bytesAll = 10_000_000_000
const perSecond = 1_000_000

vi.setConfig({ testTimeout: seconds * 1000 + 300_000 })

let vaultterm: VaultTerm
let sshd: Sshd
let config: string
beforeAll(async () => {
  sshd = await Sshd.start()
  vaultterm = await VaultTerm.start()
  await addTarget(vaultterm, sshd)
  await addGrant(vaultterm, 'forward')
  config = join(vaultterm.home, 'demo/ssh_config')
})
afterAll(async () => {
  await vaultterm?.close()
  await sshd?.close()
})

/** Of all our processes. */
function resident(): number {
  return [vaultterm.pid, ...vaultterm.workers].reduce((sum, pid) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return sum + Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024
  }, 0)
}

/** A tenth of what a second may bring, ten times a second. */
async function sip(from: Readable, until: number): Promise<number> {
  let sum = 0
  while (performance.now() < until) {
    for (let left = perSecond / 10; left > 0; ) {
      const chunk: Buffer | null = from.read(Math.min(left, from.readableLength)) ?? null
      if (chunk === null) break
      left -= chunk.length
      sum += chunk.length
    }
    await sleep(100)
  }
  return sum
}

/** Runs it while a third as long passes, and then looks at what the rest of the time makes of memory. */
async function expectFlat(work: (until: number) => Promise<number>): Promise<number> {
  const started = performance.now()
  const until = started + seconds * 1000
  const samples: number[] = []
  const measuring = (async () => {
    await sleep(seconds * 330)
    while (performance.now() < until) {
      samples.push(resident())
      await sleep(250)
    }
  })()
  // Others go on meanwhile.
  const others = (async () => {
    await sleep(seconds * 500)
    expect(await vaultterm.ssh(['acme+real', 'echo', 'well'])).toMatchObject({ stdout: 'well\n' })
  })()
  const [moved] = await Promise.all([work(until), measuring, others])
  const [first = 0] = samples
  expect(samples.length).toBeGreaterThan(5)
  expect(Math.max(...samples) - first).toBeLessThan(32 * 1048576)
  return moved
}

async function end(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await eventually(
    async () => ((await metric(vaultterm, 'bastion_sessions')) === 0 ? true : undefined),
    'the end of the session',
  )
}

/** How far ahead of its reader a source may be: pipes, sockets and windows on the way. */
const underwayMax = 64 * 1048576

test('output', async () => {
  const child = spawn(
    'ssh',
    ['-F', config, 'acme+real', `head -c ${bytesAll} /dev/zero | tee -p /dev/null`],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  await once(child.stdout, 'readable')
  const taken = await expectFlat((until) => sip(child.stdout, until))
  expect(taken).toBeGreaterThan(perSecond * seconds * 0.1)
  expect(taken).toBeLessThan(perSecond * seconds * 1.5)
  await end(child)
  const before = await metric(vaultterm, 'bastion_relay_bytes_total')
  expect(before).toBeLessThan(taken + underwayMax)
})

test('input', async () => {
  const counted = join(sshd.directory, 'counted')
  const slow = `while [ $(head -c ${perSecond / 10} | tee -a '${counted}' | wc -c) -gt 0 ]; do sleep 0.1; done`
  const child = spawn(
    'sh',
    [
      '-c',
      'head -c "$1" /dev/zero | ssh -F "$2" acme+real "$3"',
      'sh',
      `${bytesAll}`,
      config,
      slow,
    ],
    {
      stdio: 'ignore',
      detached: true,
    },
  )
  const size = () => (existsSync(counted) ? statSync(counted).size : 0)
  await eventually(() => size() > 0 || undefined, 'the first of it')
  await expectFlat(async (until) => {
    await sleep(until - performance.now())
    return 0
  })
  expect(size()).toBeGreaterThan(perSecond * seconds * 0.1)
  expect(size()).toBeLessThan(perSecond * seconds * 1.5)
  process.kill(-(child.pid ?? 0), 'SIGKILL')
  await end(child)
})

test('a forward', async () => {
  const place = await freePort()
  const port = await freePort()
  const source = spawn(process.execPath, [
    '-e',
    `require('net').createServer((s) => { const z = Buffer.alloc(65536); const more = () => { while (s.write(z)); }; s.on('drain', more).on('error', () => {}); more() }).listen(${place}, '127.0.0.1', () => console.log('listens'))`,
  ])
  await once(source.stdout, 'data')
  const child = spawn('ssh', [
    '-F',
    config,
    '-N',
    '-L',
    `127.0.0.1:${port}:127.0.0.1:${place}`,
    'acme+real',
  ])
  try {
    const socket = await eventually(
      () =>
        new Promise<import('node:net').Socket | undefined>((done) => {
          const tried = connect(port, '127.0.0.1', () => done(tried))
          tried.once('error', () => done(undefined))
        }),
      'the forward',
    )
    socket.pause()
    await once(socket, 'readable')
    const taken = await expectFlat((until) => sip(socket, until))
    expect(taken).toBeGreaterThan(perSecond * seconds * 0.1)
    socket.destroy()
  } finally {
    source.kill('SIGKILL')
    await end(child)
  }
})
