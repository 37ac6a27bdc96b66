import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { installDebianPackages } from '../../test/support/debian.ts'
import { runChecks } from './check.ts'
import { runTool } from './child.ts'

/** `npm test`: what the tests need, the checks, the tests; the last line says how it went. */
const args = process.argv.slice(2)
const tally = { passed: 0, failed: 0 }

const problem = await installDebianPackages()
if (problem === undefined) {
  // Arguments pick tests: whoever does that wants the answer of those alone.
  if (args.length === 0) add(await runChecks())
  await runVitest()
} else {
  console.error(problem)
  tally.failed += 1
}
process.exitCode = tally.failed > 0 || tally.passed === 0 ? 1 : 0
console.log(`${tally.passed} passed, ${tally.failed} failed`)

function add({ passed, failed }: { passed: number; failed: readonly string[] }): void {
  tally.passed += passed
  tally.failed += failed.length
}

async function runVitest(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-tally-'))
  const file = join(directory, 'tally.json')
  const reporters = ['--reporter=default', '--reporter=./test/support/tally.ts']
  const env = { ...process.env, VAULTTERM_TALLY: file }
  const status = await runTool('vitest/vitest.mjs', ['run', ...reporters, ...args], env)
  const counted = readTally(file)
  rmSync(directory, { recursive: true, force: true })
  tally.passed += counted.passed
  tally.failed += counted.failed
  // vitest knows of failures that are no test's: its own, or a service's that did not start.
  if (status !== 0 && counted.failed === 0) tally.failed += 1
}

function readTally(file: string): { passed: number; failed: number } {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return { passed: 0, failed: 0 } // It ended before it had run anything.
  }
}
