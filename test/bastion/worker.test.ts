import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { workerMetrics } from '../../src/bastion/metrics.ts'
import { Worker } from '../../src/bastion/worker.ts'
import { parseConfig } from '../../src/config.ts'
import { silent } from '../support/postgres.ts'
import { forkWorker } from '../support/worker-process.ts'
import { openMonitorFixture } from './monitor-fixture.ts'

const { deps } = await openMonitorFixture()
const program = join(import.meta.dirname, 'hostile-worker.ts')

/** A worker that does this, and whether it still lives a little later. */
async function act(what: string, args: readonly string[] = [], withinMs = 1000) {
  const worker = new Worker({
    fork: () => forkWorker(program, [what, ...args]),
    settings: {
      worker: 1,
      limits: parseConfig({}).limits,
      hostKeys: [],
      recordings: 'dir:/nonexistent',
      logLevel: 'silent',
    },
    deps,
    known: workerMetrics(),
    log: silent,
  })
  await worker.ready
  const lives = await Promise.race([worker.ended.then(() => false), sleep(withinMs, true)])
  worker.kill('the test is over')
  await worker.ended
  return lives
}

/** A worker that says these things. */
const tell = (words: readonly unknown[], { times = 1 } = {}) =>
  act('say', [JSON.stringify(words), String(times)], times > 1000 ? 20_000 : 1000)

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

test.each([
  ['frames what is no message', 'frame-of-nothing'],
  ['announces more than a message may be', 'frame-too-long'],
  ['says that it has a socket that nobody gave it', 'receipt-of-nothing'],
  ['speaks to what Node itself listens to', 'internal-message'],
  ['sends a message over the way of sockets', 'message'],
  ['sends a socket', 'socket'],
  ['sends bytes that are none of Node’s', 'bytes'],
  ['sends a message without an end', 'endless'],
])('attack: a worker that %s is killed, and nobody else ends', async (_what, deed) => {
  const before = process.memoryUsage().rss
  const descriptors = () => readdirSync('/proc/self/fd').length
  const open = descriptors()
  expect(await act(deed)).toBe(false)
  expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1048576)
  expect(descriptors()).toBeLessThanOrEqual(open + 2)
})

test('a worker that asks about connections that have ended lives', async () => {
  const late = call('endSession', connection, 's', { bytes: 0, reason: 'ended' })
  expect(await tell([late], { times: 100 })).toBe(true)
})

test('a worker that hangs up is gone soon', async () => {
  expect(await act('disconnect', [], 5000)).toBe(false)
  expect(await act('hang-up', [], 5000)).toBe(false)
})
