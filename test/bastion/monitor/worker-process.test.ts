import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import type { MonitorDeps } from '../../../src/bastion/monitor/monitor.ts'
import { WorkerProcess } from '../../../src/bastion/monitor/worker-process.ts'
import type { ConnectionId } from '../../../src/bastion/wire/calls.ts'
import { workerMetrics } from '../../../src/bastion/wire/worker-metrics.ts'
import { parseConfig } from '../../../src/config.ts'
import type { SessionId } from '../../../src/recorder/index.ts'
import { formatPublicKey } from '../../../src/ssh/index.ts'
import { eventually } from '../../support/installation.ts'
import { silent } from '../../support/postgres.ts'
import { publicKeyOf } from '../../support/ssh-authority.ts'
import { forkWorker } from '../../support/worker-process.ts'
import { actor, openMonitorFixture } from './monitor-fixture.ts'

const fixture = await openMonitorFixture()
const { deps, product } = fixture
const program = join(import.meta.dirname, 'hostile-worker.ts')

async function start(what: string, args: readonly string[], other: Partial<MonitorDeps> = {}) {
  const worker = new WorkerProcess({
    fork: () => forkWorker(program, [what, ...args]),
    settings: {
      worker: 1,
      limits: parseConfig({}).limits,
      hostKeys: [],
      recordings: 'dir:/nonexistent',
      recordedOutputBytes: 1024 ** 2,
      logLevel: 'silent',
    },
    deps: { ...deps, ...other },
    known: workerMetrics(),
    lease: () => undefined,
    loggedIn: () => {},
    log: silent,
  })
  await worker.ready
  return worker
}

/** Long enough on a busy machine for the end of one that is killed. */
const killedMs = 30_000

/** A worker that does this, and whether it still lives a little later. */
async function act(what: string, args: readonly string[] = [], withinMs = killedMs) {
  const worker = await start(what, args)
  const lives = await Promise.race([worker.ended.then(() => false), sleep(withinMs, true)])
  worker.kill('the test is over')
  await worker.ended
  return lives
}

/** Whether a worker that says these things lives. */
const tell = (words: readonly unknown[], { times = 1, withinMs = 1000 } = {}) =>
  act('say', [JSON.stringify(words), String(times)], withinMs)

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
  expect(await tell([word], { withinMs: killedMs })).toBe(false)
})

test('attack: a worker that never stops talking is killed', async () => {
  const word = { type: 'closed', connection }
  expect(await tell([word], { times: 1000 })).toBe(true)
  expect(await tell([word], { times: 100_000, withinMs: killedMs })).toBe(false)
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

/** A worker that has a session and a forward in it, and will end neither. */
async function goingOn(what = 'go-on', other: Partial<MonitorDeps> = {}) {
  const { tenant, slug } = await fixture.somebody()
  const { privateKey } = generateKeyPairSync('ed25519')
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-worker-'))
  const marker = join(directory, 'noted')
  const line = formatPublicKey(publicKeyOf(privateKey))
  await product.auth.addKey(tenant, 'demo', line, {}, actor)
  await product.access.addGrant(tenant, { user: 'demo', target: 'web1', allow: ['agent'] }, actor)
  const login = JSON.stringify({
    user: slug,
    pem: privateKey.export({ format: 'pem', type: 'pkcs8' }),
    marker,
  })
  const worker = await start(what, [login], other)
  const server = createServer({ pauseOnConnect: true }, (socket) =>
    worker.serve(randomUUID() as ConnectionId, socket, '198.51.100.4', { release: () => {} }),
  ).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = connect(port, '127.0.0.1').on('error', () => {})
  const events = () => product.audit.tail(tenant, { limit: 100 })
  const { session, forward } = await eventually(async () => {
    const opened = (await events()).find(({ type }) => type === 'forward.open')
    return opened?.public as { session: SessionId; forward: string } | undefined
  }, 'the forward')
  return {
    worker,
    marker,
    session,
    forward,
    events,
    async ends() {
      const ends = (await events()).filter(({ type }) => /^(forward.close|session.end)$/.test(type))
      return ends.map(({ type, public: { ended } }) => `${type} ${ended}`).toSorted()
    },
    async close() {
      client.destroy()
      server.close()
      rmSync(directory, { recursive: true })
      worker.kill('the test is over')
      await worker.ended
    },
  }
}

test('attack: a worker that does not cut what was ended is killed, and no other', async () => {
  const [one, two, other] = await Promise.all([goingOn(), goingOn(), goingOn()])
  one.worker.endForward(one.forward, 'no grant any more')
  two.worker.killSession(two.session, 'an operator said so')
  other.worker.endForward(one.forward, 'no grant any more')
  for (const { worker } of [one, two, other]) worker.ping()
  await Promise.all([one.worker.ended, two.worker.ended])
  expect(await one.ends()).toEqual(['forward.close revoked', 'session.end interrupted'])
  expect(await two.ends()).toEqual(['forward.close interrupted', 'session.end interrupted'])
  await eventually(() => (other.worker.owed === 0 ? true : undefined), 'the answer to the ping')
  expect(other.worker.isGone).toBe(false)
  expect(await other.ends()).toEqual([])
  for (const each of [one, two, other]) await each.close()
})

test('a worker that cuts a killed session and takes long to end it on record lives', async () => {
  // A slow disk, or a log that others hold up: nobody may end a worker with that.
  const slow = await goingOn('cut-and-wait')
  slow.worker.killSession(slow.session, 'an operator said so')
  for (let beat = 1; beat <= 3; beat++) {
    slow.worker.ping()
    await eventually(() => (slow.worker.owed === 0 ? true : undefined), `pong ${beat}`)
  }
  expect(slow.worker.isGone).toBe(false)
  expect(await slow.ends()).toEqual([])
  await slow.close()
})

test('a session for whose files there is no memory is killed; its worker lives, and the log has all of them', async () => {
  const fileLimits = { knownMax: 1024 ** 2, allMax: 10_000 }
  const { worker, events, close } = await goingOn('note-files', { fileLimits })
  await eventually(
    async () => (await events()).find(({ type }) => type === 'session.end'),
    'the end',
  )
  const files = (await events()).filter(({ type }) => type === 'file.operation')
  expect(files.map(({ public: { state } }) => state)).toEqual(
    Array.from({ length: 12 }, () => 'interrupted'),
  )
  expect(worker.isGone).toBe(false)
  await close()
})

test('attack: a worker that the main process kills leaves no file operation untold', async () => {
  const { worker, marker, events, close } = await goingOn('note-when-pinged')
  worker.ping()
  // This process reads nothing meanwhile, as under a flood.
  while (!existsSync(marker)) pauseThread(5)
  worker.kill('it is far too large')
  while (isAlive(worker.pid)) pauseThread(5)
  // Who says something to a process that has ended is told so, before it has read what that one said.
  worker.ping()
  await worker.ended
  const told = async () =>
    (await events())
      .filter(({ type }) => type === 'file.operation')
      .map(({ public: { state } }) => state)
  expect(await told()).toEqual(Array.from({ length: 12 }, () => 'interrupted'))
  await close()
})

const pauseThread = (ms: number) =>
  void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

/** One that has ended stays until this process has heard of it. */
function isAlive(pid: number | undefined): boolean {
  return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
}

/** One that answers no ping. */
async function startHung(what: string): Promise<WorkerProcess> {
  const worker = await start(what, [])
  onTestFinished(() => {
    worker.kill('the test is over')
    return worker.ended
  })
  return worker
}

/** Pings it as often, and lets its main thread work or stand for a while after each. */
async function ping(worker: WorkerProcess, times: number) {
  const writes = () => {
    const text = readFileSync(`/proc/${worker.pid}/io`, 'utf8')
    return Number(/^syscw: (\d+)$/m.exec(text)?.[1])
  }
  for (let time = 0; time < times; time++) {
    worker.ping()
    const before = writes()
    const isBusy = () => writes() > before + 1000 || undefined
    await Promise.race([eventually(isBusy, 'work').catch(() => {}), sleep(200)])
  }
}

test('attack: a worker that has too much to do to answer in time is not taken for one that hangs', async () => {
  const worker = await startHung('work')
  await ping(worker, 8)
  expect([worker.owed > 4, worker.isHung]).toEqual([true, false])
  // It may only seem to have.
  await ping(worker, 8)
  expect(worker.isHung).toBe(true)
})

test('attack: a worker that seems busy gets no more time for what it was told to end', async () => {
  const worker = await startHung('work')
  worker.killSession('s' as SessionId, 'an operator said so')
  await ping(worker, 4)
  expect(worker.isHung).toBe(true)
})

test('attack: a worker that works in circles is taken for one that hangs', async () => {
  const worker = await startHung('stand')
  await ping(worker, 5)
  expect(worker.isHung).toBe(true)
})

test('a worker that asks about connections that have ended lives', async () => {
  const late = call('endSession', connection, 's', { bytes: 0, reason: 'ended' })
  expect(await tell([late], { times: 100 })).toBe(true)
})

test('a worker that hangs up is gone soon', async () => {
  expect(await act('disconnect')).toBe(false)
  expect(await act('hang-up')).toBe(false)
})
