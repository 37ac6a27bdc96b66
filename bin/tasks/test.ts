import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { usesNativeCiphers } from '../../src/ssh/index.ts'
import { installDebianPackages } from '../../test/support/debian.ts'
import type { Counts } from '../../test/support/tally.ts'
import { runChecks } from './check.ts'
import { runTool } from './child.ts'

/**
 * `npm test`: installs the programs that the tests run, then runs the checks and the tests. The last
 * line says how many passed and failed.
 *
 * Machines without a compiler have no native ciphers. If SSH has them here, the tests of the whole
 * program, of other projects' clients, and of ciphers run a second time with the JavaScript
 * ciphers. If not, the first run is that one. Arguments pick tests, and run them once, with the
 * ciphers that VAULTTERM_NATIVE_CIPHERS allows.
 */
const args = process.argv.slice(2)
const ciphers = ['algorithms', 'bounds', 'interleaving', 'rekeying']
const speaksSsh = [
  ...['test/e2e', 'test/interop'],
  ...ciphers.map((name) => `test/ssh/ssh2/${name}.test.ts`),
]
const tally = { passed: 0, failed: 0 }
const lines: string[] = []

const { problem, skipped } = installDebianPackages()
if (problem === undefined) {
  lines.push(...skipped)
  if (args.length > 0) await runVitest(args)
  else await runEverything()
} else {
  console.error(problem)
  tally.failed += 1
}
process.exitCode = tally.failed > 0 || tally.passed === 0 ? 1 : 0
for (const line of lines) console.log(line)
console.log(`${tally.passed} passed, ${tally.failed} failed`)

async function runEverything(): Promise<void> {
  const checks = await runChecks()
  tally.passed += checks.passed
  tally.failed += checks.failed.length
  const native = usesNativeCiphers()
  await runVitest([], native ? 'native' : 'JavaScript')
  if (native) await runVitest(speaksSsh, 'JavaScript', { VAULTTERM_NATIVE_CIPHERS: 'off' })
  else if (process.env.VAULTTERM_NATIVE_CIPHERS === 'off') {
    lines.push('no run with native ciphers: VAULTTERM_NATIVE_CIPHERS=off turns them off')
  } else {
    lines.push('no run with native ciphers: they are not built here (they need g++, make, python3)')
  }
}

/** Runs the tests of these paths, or all. With a name for its ciphers, the run gets a line of its own. */
async function runVitest(
  paths: readonly string[],
  ciphers?: 'native' | 'JavaScript',
  settings: Readonly<Record<string, string>> = {},
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-tally-'))
  const file = join(directory, 'tally.json')
  const reporters = ['--reporter=default', '--reporter=./test/support/tally.ts']
  const env = { ...process.env, ...settings, VAULTTERM_TALLY: file }
  const started = performance.now()
  const status = await runTool('vitest/vitest.mjs', ['run', ...reporters, ...paths], env)
  const { passed, failed: counted, skipped } = readTally(file)
  rmSync(directory, { recursive: true, force: true })
  // vitest knows of failures that are no test's: its own, or a service's that did not start.
  const failed = status !== 0 && counted === 0 ? 1 : counted
  tally.passed += passed
  tally.failed += failed
  if (ciphers === undefined) return
  const minutes = ((performance.now() - started) / 60_000).toFixed(1)
  lines.push(
    `${ciphers} ciphers: ${passed} passed, ${failed} failed, ${skipped} skipped in ${minutes} min ` +
      `(${paths.length === 0 ? 'all tests' : paths.join(' ')})`,
  )
}

function readTally(file: string): Counts {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return { passed: 0, failed: 0, skipped: 0 } // It ended before it had run anything.
  }
}
