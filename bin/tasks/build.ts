import { rmSync } from 'node:fs'
import { runTool } from './child.ts'

/**
 * The built form, for packages: dist/ holds JavaScript in place of src/, and stands where src/ stood,
 * so that whatever is found relative to it (migrations/, web/) is found from there too.
 */
rmSync('dist', { recursive: true, force: true })
process.exitCode = await runTool('typescript/bin/tsc', ['-p', 'tsconfig.build.json'])
