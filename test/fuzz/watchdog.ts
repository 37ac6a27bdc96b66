import { setTimeout as sleep } from 'node:timers/promises'
import { memoryOf, type Subject } from './subject.ts'

/** What nobody may do to anybody else. */
export interface Bounds {
  /** A login, and an answer to whether it is ready, while others attack. */
  readonly answerMs: number
  readonly everyMs: number
  /** What the processes may have more at the end than where the count of it began. */
  readonly growthBytes: number
  /** What they may have more at any moment. */
  readonly peakBytes: number
  /** How long until nothing is left of those who have gone. */
  readonly settleMs: number
}

export const bounds: Bounds = {
  answerMs: 5000,
  everyMs: 1000,
  growthBytes: 128 * 1024 * 1024,
  peakBytes: 700 * 1024 * 1024,
  settleMs: 40_000,
}

export interface Watch {
  /** Resolves with the first thing that was wrong. */
  readonly found: Promise<string>
  readonly findings: readonly string[]
  readonly logins: number
  readonly slowestLoginMs: number
  /** Over what there was where the count began: at the start, or with `countGrowth`. */
  readonly growthBytes: number
  readonly peakBytes: number
  /**
   * Counts growth from here. What fills up once, an allocator's pages or compiled code, is no leak;
   * what grows as much again in the second half as in the first is one.
   */
  countGrowth(): void
  /** Once the attack is over: whether all that it held is given back. */
  settle(): Promise<void>
  /** Looks no further, and hears no more: what follows is not the attack's. */
  close(): void
}

const alarming = /"level":"(error|fatal)"|uncaught|unhandled|Warning:/i
const findingsMax = 20

/**
 * Sits outside the process and sees what an honest person would: a login each second, whether it is
 * ready, its log, its memory, and what it has left open.
 */
export async function watch(
  subject: Subject,
  limits: Bounds = bounds,
  memory: () => number | undefined = () => memoryOf(subject.pid),
): Promise<Watch> {
  const findings: string[] = []
  const { promise: found, resolve } = Promise.withResolvers<string>()
  let closed = false
  let logins = 0
  let slowestLoginMs = 0
  let rest = ''
  const find = (what: string) => {
    if (closed || findings.length >= findingsMax) return
    findings.push(what)
    resolve(what)
  }

  subject.onStderr = (text) => {
    const lines = (rest + text).split('\n')
    rest = (lines.pop() ?? '').slice(-100_000)
    for (const line of lines) if (alarming.test(line)) find(`its log: ${line.slice(0, 2000)}`)
  }
  void subject.exited.then((code) => find(`it ended, with ${code}`))

  const probe = async (what: string, act: () => Promise<unknown>) => {
    const from = performance.now()
    const late = Symbol('late')
    const answer = await Promise.race([
      act().then(
        (value) => value,
        (err: unknown) => find(`${what} failed: ${err}`),
      ),
      sleep(limits.answerMs, late, { ref: false }),
    ])
    if (answer === late) find(`${what} took longer than ${limits.answerMs} ms`)
    if (answer === false) find(`${what}: no`)
    return performance.now() - from
  }
  // The first ones fill what is kept for the next, and are no growth.
  for (let count = 0; count < 3; count++) await probe('a login before the attack', subject.login)
  const before = memory() ?? 0
  let peakBytes = 0
  let grownFrom = before

  const look = async () => {
    while (!closed) {
      const from = performance.now()
      const [login] = await Promise.all([
        probe('a login', subject.login),
        probe('being ready', subject.ready),
      ])
      slowestLoginMs = Math.max(slowestLoginMs, login)
      logins++
      peakBytes = Math.max(peakBytes, (memory() ?? 0) - before)
      if (peakBytes > limits.peakBytes) find(`it took ${mebibytes(peakBytes)} MiB at once`)
      await sleep(Math.max(0, limits.everyMs - (performance.now() - from)))
    }
  }
  const looking = look()

  const settled = async (ask: () => Promise<string | undefined>) => {
    const deadline = performance.now() + limits.settleMs
    for (;;) {
      const problem = await ask().catch((err: unknown) => String(err))
      if (problem === undefined) return
      if (performance.now() > deadline) return find(problem)
      await sleep(100)
    }
  }

  let growthBytes = 0
  return {
    found,
    findings,
    get logins() {
      return logins
    },
    get slowestLoginMs() {
      return slowestLoginMs
    },
    get growthBytes() {
      return growthBytes
    },
    get peakBytes() {
      return peakBytes
    },
    countGrowth() {
      grownFrom = memory() ?? 0
    },
    async settle() {
      // Our own logins would be among what is open.
      const findingsBefore = findings.length
      closed = true
      await Promise.race([looking, sleep(limits.answerMs, undefined, { ref: false })])
      closed = findingsBefore < findings.length
      await settled(async () => {
        const left = Object.entries(await subject.open()).filter(([, count]) => count !== 0)
        if (left.length === 0) return undefined
        return `left open: ${left.map(([name, count]) => `${name} ${count}`).join(', ')}`
      })
      await settled(async () => {
        const counts = Object.entries(await subject.accused()).filter(([, count]) => count !== 0)
        if (counts.length === 0) return undefined
        return `an honest worker was accused: ${counts.map(([name, count]) => `${name} ${count}`).join(', ')}`
      })
      await settled(async () => {
        growthBytes = (memory() ?? 0) - grownFrom
        if (growthBytes <= limits.growthBytes) return undefined
        return `it has grown by ${mebibytes(growthBytes)} MiB`
      })
    },
    close() {
      closed = true
      subject.onStderr = undefined
    },
  }
}

export function mebibytes(bytes: number): number {
  return Math.round(bytes / 1024 / 1024)
}
