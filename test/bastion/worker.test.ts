import { fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Worker } from '../../src/bastion/worker.ts'
import { parseConfig } from '../../src/config.ts'
import { silent } from '../support/postgres.ts'
import { openMonitorFixture } from './monitor-fixture.ts'

const { deps } = await openMonitorFixture()
const program = join(import.meta.dirname, 'hostile-worker.ts')

/** A worker that says these things, and whether it still lives a little later. */
async function tell(words: readonly unknown[], { times = 1 } = {}) {
  const worker = new Worker({
    fork: () => fork(program, [JSON.stringify(words), String(times)], { stdio: 'ignore' }),
    settings: {
      worker: 1,
      limits: parseConfig({}).limits,
      hostKeys: [],
      recordings: 'dir:/nonexistent',
      logLevel: 'silent',
    },
    deps,
    log: silent,
  })
  await worker.ready
  const lives = await Promise.race([
    worker.ended.then(() => false),
    sleep(times > 1000 ? 20_000 : 1000, true),
  ])
  worker.kill('the test is over')
  await worker.ended
  return lives
}

const connection = randomUUID()
const call = (method: string, ...args: unknown[]) => ({
  type: 'call',
  id: 1,
  call: { method, args },
})

test('a worker that asks for what there is not is answered, and lives', async () => {
  // The control of those below: these are well formed.
  expect(await tell([call('authorize', connection, 'shell')])).toBe(true)
  expect(await tell([{ type: 'closed', connection }])).toBe(true)
  expect(await tell([{ type: 'left', connection, how: 'silent' }])).toBe(true)
  expect(await tell([{ type: 'metrics', id: 9, metrics: 'no metrics' }])).toBe(true)
})

test.each<[string, unknown]>([
  ['nothing', null],
  ['a text', 'ready'],
  ['another type', { type: 'exit' }],
  ['a type twice over', { type: ['ready'] }],
  ['more than a message has', { type: 'ready', more: true }],
  ['a call of nothing', call('vault')],
  ['a method of every object', call('constructor')],
  ['a method that is private', call('lost')],
  ['too few arguments', call('authorize', connection)],
  ['too many arguments', call('authorize', connection, 'shell', 'web1', 'root')],
  ['no name for a target', call('authorize', connection, 'shell', '../x')],
  ['a kind that there is not', call('authorize', connection, 'admin')],
  ['an object for a name', call('authorize', { toString: connection }, 'shell')],
  ['a name that is too long', call('authorize', 'x'.repeat(65), 'shell')],
  ['a number that is none', { type: 'pong', id: 'NaN' }],
  ['a negative number', { type: 'pong', id: -1 }],
  ['texts for bytes', call('checkHostKey', connection, 'a', 'blob')],
  [
    'a session’s outcome with more in it',
    call('endSession', connection, 's', { bytes: 0, reason: '', tenant: 'x' }),
  ],
  ['another prototype', JSON.parse('{"type":"pong","id":1,"__proto__":{"type":"ready"}}')],
])('attack: a worker that says %s is killed', async (_what, word) => {
  expect(await tell([word])).toBe(false)
})

test('attack: a worker that never stops talking is killed', async () => {
  const word = { type: 'closed', connection }
  expect(await tell([word], { times: 1000 })).toBe(true)
  expect(await tell([word], { times: 100_000 })).toBe(false)
})
