import { runTool } from './child.ts'

/** The checks before anything runs, each with the name under which it passes or fails. */
const checks = [
  { name: 'types', tool: 'typescript/bin/tsc', args: ['-p', '.'] },
  { name: 'types of the pages', tool: 'typescript/bin/tsc', args: ['-p', 'web'] },
  {
    name: 'lint and format',
    tool: '@biomejs/biome/bin/biome',
    args: ['check', '--error-on-warnings'],
  },
] as const

/** Runs every check, past a failure, and gives the names of those that failed. */
export async function runChecks(): Promise<{ passed: number; failed: readonly string[] }> {
  const failed: string[] = []
  for (const { name, tool, args } of checks) {
    const status = await runTool(tool, args)
    console.log(`check: ${name} ${status === 0 ? 'passed' : 'FAILED'}`)
    if (status !== 0) failed.push(name)
  }
  return { passed: checks.length - failed.length, failed }
}

if (import.meta.main) process.exitCode = (await runChecks()).failed.length === 0 ? 0 : 1
