import { resolve } from 'node:path'
import { runTool } from './child.ts'

/**
 * `npm run screenshots [-- DIRECTORY]`: a picture of every page, light and dark, on a wide screen and on a
 * phone, to look at. They are made by the test that walks all pages.
 */
const directory = resolve(process.argv[2] ?? 'screenshots')
const env = { ...process.env, VAULTTERM_SCREENSHOTS: directory }
process.exitCode = await runTool('vitest/vitest.mjs', ['run', 'test/portal/pages.test.ts'], env)
console.log(`pictures of the pages are in ${directory}`)
