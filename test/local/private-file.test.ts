import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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

test('gives the logins of an older home one for the queue, and keeps the others', async () => {
  const path = join(directory, 'older.json')
  const older = { superuser: 's', owner: 'o', app: 'a', bastion: 'b' }
  writeFileSync(path, JSON.stringify(older), { mode: 0o600 })
  const { jobs } = await keepPasswords(path)
  const stored = JSON.parse(readFileSync(path, 'utf8'))
  expect(stored).toEqual({ ...older, jobs: jobs.reveal() })
  expect(jobs.reveal().length).toBeGreaterThan(30)
  expect((await keepPasswords(path)).jobs.reveal()).toBe(jobs.reveal())
})

test.each(damaged)('says nothing of a run file that is %s, in any error', async (_, text) => {
  const path = join(directory, 'run.json')
  writeFileSync(path, text, { mode: 0o600 })
  const failure = await readRun(path).catch((err: unknown) => err)
  expect(inspect(failure, { depth: 10, showHidden: true })).not.toContain(secret.slice(0, 6))
})
