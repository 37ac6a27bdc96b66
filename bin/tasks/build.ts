import { rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { buildPages } from '../setup/pages.mjs'
import { runTool } from './child.ts'

/**
 * The built form, for packages: dist/ has JavaScript in place of src/, and is in the same place, so
 * that relative paths (migrations/, web/) stay valid. web/dist/ has the pages.
 */
const root = resolve(import.meta.dirname, '../..')
rmSync('dist', { recursive: true, force: true })
const pages = {
  root,
  state: join(root, 'node_modules/.vaultterm'),
  node: { path: process.execPath },
}
const hasPages = await buildPages(pages)
const status = await runTool('typescript/bin/tsc', ['-p', 'tsconfig.build.json'])
process.exitCode = hasPages ? status : 1
