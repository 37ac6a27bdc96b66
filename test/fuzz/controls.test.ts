import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { makeStockSsh2 } from '../support/ssh2-stock.ts'
import { runCampaign } from './campaign.ts'
import { encode, message, mutate, nested, string, tamperings, u32 } from './fields.ts'
import { startNaive } from './naive-subject.ts'
import { boundaries, Random } from './random.ts'
import { boundaryCases, stages } from './stranger-cases.ts'
import type { Subject } from './subject.ts'
import { type Bounds, watch } from './watchdog.ts'

/** That the fuzzers find something where there is something to find, and the watchdog sees it. */
const stock = makeStockSsh2()
afterAll(() => stock.remove())

const quick: Bounds = {
  answerMs: 3000,
  everyMs: 100,
  growthBytes: 1000,
  peakBytes: 10_000,
  settleMs: 300,
}

const fallsOver = /^(it ended|a login (took longer|failed)|its log|sealed)/

test.each([
  // Seeds with which it is found early.
  { role: 'stranger', manner: 'late', seed: 4, finding: fallsOver },
  { role: 'target', manner: 'late', seed: 6, finding: fallsOver },
  { role: 'stranger', manner: 'trusting', seed: 1, finding: /^sealed: .* got message 52$/ },
] as const)(
  'control: a $role brings down a bastion that is written after the manual, and is $manner',
  async ({ role, manner, seed, finding }) => {
    const naive = await startNaive(stock.path, manner)
    onTestFinished(() => naive.close())
    const { findings } = await runCampaign({
      subject: naive,
      roles: [role],
      // It ends with the first finding. A busy machine sends less in a second, and next to nothing
      // for whoever lets all others go first.
      rounds: [{ seed, seconds: 150 }],
      niceness: 0,
      limits: { ...quick, answerMs: 30_000, growthBytes: 2 ** 30, peakBytes: 2 ** 30 },
    })
    expect(findings[0]).toMatch(finding)
    expect(findings.at(-1)).toContain(`${role}:\n`)
  },
)

describe('the watchdog', () => {
  let held = 0
  const healthy = (): Subject => ({
    port: 0,
    pid: process.pid,
    key: '',
    user: '',
    exited: new Promise(() => {}),
    onStderr: undefined,
    login: async () => {},
    ready: async () => true,
    open: async () => ({ bastion_connections: 0 }),
    accused: async () => ({}),
    addTarget: async () => '',
    close: async () => {},
  })
  const run = async (subject: Subject, attack: () => void = () => {}, limits: Bounds = quick) => {
    held = 0
    const seen = await watch(subject, limits, () => held)
    attack()
    await Promise.race([seen.found, new Promise((done) => setTimeout(done, 400))])
    await seen.settle()
    seen.close()
    return seen.findings
  }

  test('says nothing of what is well (control)', async () => {
    expect(await run(healthy())).toEqual([])
  })

  test('sees a login that hangs', async () => {
    let hangs = false
    const subject = {
      ...healthy(),
      login: () => (hangs ? new Promise<void>(() => {}) : Promise.resolve()),
    }
    const findings = await run(
      subject,
      () => {
        hangs = true
      },
      { ...quick, answerMs: 200 },
    )
    expect(findings[0]).toBe('a login took longer than 200 ms')
  })

  test('sees a login that is refused', async () => {
    let refused = false
    const subject = {
      ...healthy(),
      login: async () => {
        if (refused) throw new Error('no')
      },
    }
    const findings = await run(subject, () => {
      refused = true
    })
    expect(findings[0]).toContain('a login failed: Error: no')
  })

  test('sees that it is not ready', async () => {
    const findings = await run({ ...healthy(), ready: async () => false })
    expect(findings[0]).toBe('being ready: no')
  })

  test('sees that the process ends', async () => {
    const { promise: exited, resolve } = Promise.withResolvers<number | null>()
    const findings = await run({ ...healthy(), exited }, () => resolve(1))
    expect(findings[0]).toBe('it ended, with 1')
  })

  test.each([
    '{"level":"error","msg":"a channel handler failed"}\n',
    '{"level":"fatal","msg":"unexpected error, stopping"}\n',
    'Uncaught TypeError: x\n',
    '(node:1) UnhandledPromiseRejectionWarning: x\n',
    '(node:1) MaxListenersExceededWarning: Possible EventEmitter memory leak\n',
  ])('sees in the log: %s', async (line) => {
    const subject = healthy()
    const findings = await run(subject, () => {
      for (const part of [line.slice(0, 12), line.slice(12)]) subject.onStderr?.(part)
    })
    expect(findings[0]).toContain(line.trim())
  })

  test('sees memory that is not given back', async () => {
    const findings = await run(healthy(), () => {
      held = 5000
    })
    expect(findings[0]).toContain('it has grown by')
  })

  test('counts growth from where it is told to', async () => {
    held = 0
    const seen = await watch(healthy(), { ...quick, peakBytes: 2 ** 30 }, () => held)
    held = 5000
    seen.countGrowth()
    held += 900
    await seen.settle()
    expect(seen.findings).toEqual([])
    seen.close()
    expect(seen.growthBytes).toBe(900)
  })

  test('sees growth after that', async () => {
    held = 5000
    const seen = await watch(healthy(), { ...quick, peakBytes: 2 ** 30 }, () => held)
    seen.countGrowth()
    held += 1100
    await seen.settle()
    seen.close()
    expect(seen.findings).toEqual([expect.stringContaining('it has grown by')])
  })

  test('sees memory that is taken for a moment', async () => {
    const findings = await run(healthy(), () => {
      held = 2 ** 24
      setTimeout(() => {
        held = 0
      }, 250)
    })
    expect(findings[0]).toBe('it took 16 MiB at once')
  })

  test('sees connections that are left', async () => {
    const findings = await run({ ...healthy(), open: async () => ({ bastion_connections: 3 }) })
    expect(findings).toEqual(['left open: bastion_connections 3'])
  })

  test('sees a worker that was accused of a forgery', async () => {
    const accused = async () => ({ bastion_worker_requests_forged_total: 1 })
    const findings = await run({ ...healthy(), accused })
    expect(findings).toEqual([
      'an honest worker was accused: bastion_worker_requests_forged_total 1',
    ])
  })
})

describe('the cases', () => {
  const shape = message('SHAPE', 90, u32(5), string('abc'), nested(string('in'), u32(7)))

  test('hold every boundary value in every integer and every length of a string', () => {
    const payloads = tamperings(shape).map((tampering) => tampering.apply(shape).toString('hex'))
    const places = [
      '00000005',
      '00000003616263',
      '0000000a00000002696e',
      '00000002696e',
      '00000007',
    ]
    const honest = encode(shape).toString('hex')
    for (const place of places) {
      const at = honest.indexOf(place)
      for (const value of boundaries) {
        const number = value.toString(16).padStart(8, '0')
        expect(payloads).toContain(honest.slice(0, at) + number + honest.slice(at + 8))
      }
    }
    expect(payloads.length).toBe(places.length * boundaries.length)
  })

  test('are the same for the same seed, and others for another', () => {
    for (const stage of stages) {
      const names = (seed: number) => boundaryCases(stage, new Random(seed)).map(({ name }) => name)
      expect(names(7)).toEqual(names(7))
      expect(names(7)).not.toEqual(names(8))
      expect(names(7).toSorted()).toEqual(names(8).toSorted())
    }
    const bytes = (seed: number) => mutate(new Random(seed), encode(shape)).toString('hex')
    expect(new Set(Array.from({ length: 100 }, (_, seed) => bytes(seed))).size).toBeGreaterThan(20)
    expect(bytes(3)).toBe(bytes(3))
  })
})
