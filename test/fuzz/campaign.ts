import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Subject } from './subject.ts'
import type { Job, Tally } from './trace.ts'
import { type Bounds, bounds, mebibytes, watch } from './watchdog.ts'

export const roles = ['stranger', 'target'] as const
export type Role = (typeof roles)[number]

export interface Round {
  readonly seed: number
  readonly seconds: number
}

export interface Campaign {
  readonly subject: Subject
  readonly rounds: readonly Round[]
  readonly roles?: readonly Role[]
  readonly limits?: Bounds
  /**
   * How much time the fuzzers leave to others, as in nice(2). Whoever attacks has machines of their
   * own: ours is to go to the bastion first.
   */
  readonly niceness?: number
  readonly say?: (text: string) => void
}

export interface Outcome {
  /** What went wrong, with the cases that came before it; nothing, when all is well. */
  readonly findings: readonly string[]
  readonly cases: number
}

const lastWordsMs = 1500

/** Fuzzes a subject, in both roles at once, a seed after the other, until something is found. */
export async function runCampaign({
  subject,
  rounds,
  roles: wanted = roles,
  limits = bounds,
  niceness = 15,
  say = () => {},
}: Campaign): Promise<Outcome> {
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-fuzz-'))
  const seen = await watch(subject, limits)
  const findings: string[] = []
  let cases = 0
  const isFound = () => findings.length + seen.findings.length > 0
  try {
    for (const [round, { seed, seconds }] of rounds.entries()) {
      if (isFound()) break
      if (round === Math.ceil(rounds.length / 2)) seen.countGrowth()
      say(`fuzz: seed ${seed}, ${seconds} s`)
      const fuzzers = wanted.map((role) => {
        const fuzzer = startFuzzer(role, subject, seed, seconds, directory)
        fuzzer.nice(niceness)
        return fuzzer
      })
      const tallies = Promise.all(fuzzers.map(({ tally }) => tally))
      const ended = await Promise.race([tallies, seen.found])
      for (const { stop } of fuzzers) stop()
      if (typeof ended === 'string') break
      for (const [index, tally] of ended.entries()) {
        const role = wanted[index] ?? ''
        if (typeof tally === 'string') findings.push(`the fuzzer ${role} fell over: ${tally}`)
        else {
          cases += tally.cases
          findings.push(...tally.violations)
          say(
            `fuzz: ${role}: ${tally.cases} cases, ${tally.messages} messages, ` +
              `${tally.boundaryCases} of ${tally.boundaryCasesInAll} boundary values`,
          )
        }
      }
      say(`fuzz: memory at most +${mebibytes(seen.peakBytes)} MiB`)
    }
    if (!isFound()) await seen.settle()
    // What one sees of it first is seldom the cause.
    else await sleep(lastWordsMs)
    const { logins, slowestLoginMs, growthBytes, peakBytes } = seen
    say(
      `fuzz: ${logins} logins meanwhile, the slowest ${Math.round(slowestLoginMs)} ms; memory ` +
        `+${mebibytes(growthBytes)} MiB ${rounds.length > 1 ? 'in the second half' : 'in all'}, at most +${mebibytes(peakBytes)} MiB`,
    )
    findings.push(...seen.findings)
    if (findings.length > 0) findings.push(lastCases(directory))
    return { findings, cases }
  } finally {
    seen.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

function lastCases(directory: string): string {
  const last = roles.map((role) => {
    try {
      const lines = readFileSync(join(directory, `${role}.trace`), 'utf8')
        .trim()
        .split('\n')
      return `${role}:\n${lines
        .slice(-40)
        .map((line) => `  ${line.slice(0, 400)}`)
        .join('\n')}`
    } catch {
      return `${role}: no case`
    }
  })
  return `the last cases were\n${last.join('\n')}`
}

interface Fuzzer {
  /** What it did, or how it fell over. */
  readonly tally: Promise<Tally | string>
  nice(niceness: number): void
  stop(): void
}

/** In a process of its own: what it costs to be hostile is not to slow the watchdog down. */
function startFuzzer(
  role: Role,
  subject: Subject,
  seed: number,
  seconds: number,
  directory: string,
): Fuzzer {
  const job: Job = {
    seed,
    seconds,
    port: subject.port,
    key: subject.key,
    user: subject.user,
    trace: join(directory, `${role}.trace`),
  }
  const child = spawn(process.execPath, [join(import.meta.dirname, `${role}.ts`)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, VAULTTERM_FUZZ_JOB: JSON.stringify(job) },
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4000)
  })
  child.stdin.on('error', () => {})
  let last = ''
  createInterface({ input: child.stdout }).on('line', (line) => {
    last = line
    if (line.includes('"hostKey"')) void introduce(child, subject, JSON.parse(line))
  })
  const tally = new Promise<Tally | string>((resolve) => {
    child.once('close', (code) => {
      resolve(code === 0 && last.includes('"cases"') ? JSON.parse(last) : `${code}: ${said}`)
    })
  })
  return {
    tally,
    nice: (niceness) => child.pid !== undefined && setPriority(child.pid, niceness),
    stop: () => child.kill('SIGKILL'),
  }
}

/** A target is registered before anybody opens it. */
async function introduce(
  child: ChildProcess,
  subject: Subject,
  { port, hostKey }: { port: number; hostKey: string },
): Promise<void> {
  try {
    child.stdin?.write(`${await subject.addTarget(port, hostKey)}\n`)
  } catch (err) {
    child.stderr?.emit('data', Buffer.from(String(err)))
    child.kill('SIGKILL')
  }
}
