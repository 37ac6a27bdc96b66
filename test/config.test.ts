import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { ConfigInvalid, parseConfig, unknownSettings } from '../src/config.ts'

function problemsOf(env: NodeJS.ProcessEnv, strict = false): readonly string[] {
  try {
    parseConfig(env, { strict })
    return []
  } catch (err) {
    if (err instanceof ConfigInvalid) return err.problems
    throw err
  }
}

test.each([
  ['VAULTTERM_WORKERS', '0', 'must be a whole number from 1 to 64'],
  ['VAULTTERM_WORKERS', '65', 'must be a whole number from 1 to 64'],
  ['VAULTTERM_WORKERS', 'two', 'must be a whole number from 1 to 64'],
  ['VAULTTERM_NODE_LEASE_SECONDS', '4', 'must be a whole number from 5 to 3600'],
  ['VAULTTERM_KEEPALIVE_SECONDS', '-1', 'must be a whole number from 0 to 999999'],
  [
    'VAULTTERM_PENALTY_MAX_SECONDS',
    '1.5',
    'must be a whole number of seconds, with at most nine digits',
  ],
])('says which numbers %s takes, where it is %s', (name, value, problem) => {
  expect(problemsOf({ [name]: value })).toEqual([`${name} ${problem}`])
})

test.each([
  ['VAULTTERM_SSH_LISTN', '; did you mean VAULTTERM_SSH_LISTEN?'],
  ['VAULTTERM_WORKER', '; did you mean VAULTTERM_WORKERS?'],
  ['VAULTTERM_COLOUR_OF_THE_PAGE', ''],
  [`VAULTTERM_${'X'.repeat(100_000)}`, ''],
])('a mistyped setting %.30s is named, with the one that was meant', (name, meant) => {
  expect(problemsOf({ [name]: '1' }, true)).toEqual([`${name} is no setting${meant}`])
  // Other commands go on: it has no effect.
  expect(problemsOf({ [name]: '1' })).toEqual([])
})

test('takes no variable for a setting that is empty, has no such prefix, or comes from Kubernetes', () => {
  const env = {
    VAULTTERM_SSH_LISTN: '',
    HOME: '/root',
    VAULTTERM_SERVICE_HOST: '10.0.0.1',
    VAULTTERM_SERVICE_PORT_SSH: '2222',
    VAULTTERM_PORT: 'tcp://10.0.0.1:2222',
    VAULTTERM_PORT_2222_TCP_ADDR: '10.0.0.1',
  }
  expect(unknownSettings(env)).toEqual([])
})

test('check-config refuses a mistyped setting, beside a wrong one', () => {
  const program = resolve(import.meta.dirname, '../bin/vaultterm')
  const { PATH, HOME } = process.env
  const { status, stdout, stderr } = spawnSync(program, ['check-config'], {
    env: { PATH, HOME, VAULTTERM_SSH_LISTN: '127.0.0.1:1', VAULTTERM_WORKERS: '0' },
    encoding: 'utf8',
  })
  expect([status, stdout]).toEqual([1, ''])
  expect(stderr).toContain('VAULTTERM_WORKERS must be a whole number from 1 to 64')
  expect(stderr).toContain('VAULTTERM_SSH_LISTN is no setting; did you mean VAULTTERM_SSH_LISTEN?')
})
