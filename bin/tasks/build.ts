import { rmSync } from 'node:fs'
import { runTool } from './child.ts'

/**
 * The built form, for packages: dist/ has JavaScript in place of src/, and is in the same place, so
 * that relative paths (migrations/, web/) stay valid.
 */
rmSync('dist', { recursive: true, force: true })
process.exitCode = await runTool('typescript/bin/tsc', ['-p', 'tsconfig.build.json'])
