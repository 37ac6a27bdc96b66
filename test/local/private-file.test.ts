import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { keepPasswords } from '../../src/local/logins.ts'
import { readRun } from '../../src/local/run-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'vaultterm-private-'))
afterAll(() => rmSync(directory, { recursive: true }))

const secret = 'hunter2secret'
const damaged = [
  ['cut off', `{"superuser": "${secret}`],
  ['with a word too many', `{"superuser": "x"} ${secret}`],
  ['of another kind', JSON.stringify({ superuser: [secret], owner: secret })],
  ['without quotes', `{"superuser": ${secret}}`],
] as const

test.each(damaged)(
  'says nothing of a file of passwords that is %s, in any error',
  async (_, text) => {
    const path = join(directory, 'logins.json')
    writeFileSync(path, text, { mode: 0o600 })
    const failure = await keepPasswords(path).catch((err: unknown) => err)
    expect(failure).toMatchObject({ code: 'ERR_HOME_UNUSABLE' })
    expect(inspect(failure, { depth: 10, showHidden: true })).not.toContain(secret.slice(0, 6))
  },
)

test.each(damaged)('says nothing of a run file that is %s, in any error', async (_, text) => {
  const path = join(directory, 'run.json')
  writeFileSync(path, text, { mode: 0o600 })
  const failure = await readRun(path).catch((err: unknown) => err)
  expect(inspect(failure, { depth: 10, showHidden: true })).not.toContain(secret.slice(0, 6))
})
