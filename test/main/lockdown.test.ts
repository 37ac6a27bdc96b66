import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const built = join(root, 'node_modules/.vaultterm')
const directory = mkdtempSync(join(tmpdir(), 'vaultterm-lockdown-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** What works of what a worker in an attacker's hands tries, with an addon that it wrote itself. */
function tryAll(locked: 'locked' | 'open'): unknown {
  const addon = readdirSync(built).find((name) => name.endsWith('.node')) ?? ''
  const args = [
    '--permission',
    `--allow-fs-read=${root}/`,
    `--allow-fs-read=${directory}/`,
    `--allow-fs-write=${directory}/`,
    '--allow-addons',
    '--disable-sigusr1',
    '--disable-warning=SecurityWarning',
    join(import.meta.dirname, 'locked-down.ts'),
    join(built, addon),
    join(directory, `${locked}.node`),
    locked,
  ]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))
}

test('attack: native code is loaded from the recordings, and signals are sent', () => {
  // Node's permissions alone do not keep from it.
  expect(tryAll('open')).toEqual(expect.arrayContaining(['dlopen', 'require', 'kill']))
  expect(tryAll('locked')).toEqual([])
})
