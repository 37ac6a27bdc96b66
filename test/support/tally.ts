import { writeFileSync } from 'node:fs'
import type { SerializedError } from 'vitest'
import type { Reporter, TestModule } from 'vitest/node'

export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** Counts a test run for `npm test`, which prints the counts when everything else is said. */
export default class Tally implements Reporter {
  onTestRunEnd(
    modules: readonly TestModule[],
    unhandledErrors: readonly SerializedError[],
    reason: 'passed' | 'interrupted' | 'failed',
  ): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const states = tests.map((test) => test.result().state)
    const count = (wanted: string) => states.filter((state) => state === wanted).length
    // A file that fell over before its first test, or around them, is one failure of its own.
    const fallen = modules.filter(
      (module) =>
        module.state() === 'failed' &&
        ![...module.children.allTests()].some((test) => test.result().state === 'failed'),
    )
    // What was never run when somebody interrupted did not pass.
    const unfinished = count('pending') + (reason === 'interrupted' ? 1 : 0)
    const failed = count('failed') + fallen.length + unhandledErrors.length + unfinished
    const file = process.env.VAULTTERM_TALLY
    const counts: Counts = { passed: count('passed'), failed, skipped: count('skipped') }
    if (file !== undefined) writeFileSync(file, JSON.stringify(counts))
  }
}
