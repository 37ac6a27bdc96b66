import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createLog } from '../../src/log.ts'
import { createMetrics } from '../../src/metrics.ts'
import {
  createRecorder,
  openDirStore,
  outputBytes,
  parseCast,
  type RecordingFailed,
  type Store,
} from '../../src/recorder/index.ts'
import { newSession, newTenant, testRecorder } from '../support/recording.ts'

/** A store whose disk can hang, fail, and forget what was not synced. */
function faultyStore() {
  const fault: { append?: Promise<void>; sync?: Promise<void>; create?: Promise<void> } = {}
  const disk = { bytes: Buffer.alloc(0), durable: Buffer.alloc(0), syncs: 0 }
  const store: Store = {
    async create() {
      await fault.create
      return {
        async append(bytes) {
          await fault.append
          disk.bytes = Buffer.concat([disk.bytes, bytes])
        },
        async sync() {
          await fault.sync
          disk.durable = disk.bytes
          disk.syncs++
        },
        size: async () => disk.bytes.length,
        async truncate(length) {
          disk.bytes = disk.bytes.subarray(0, length)
        },
        async *read() {},
        close: async () => {},
      }
    },
    reopen: async () => undefined,
    read: async () => undefined,
    remove: async () => {},
    space: async () => ({ freeBytes: 2 ** 40, totalBytes: 2 ** 41 }),
  }
  return { store, fault, disk }
}

async function begin(store: Store) {
  const failures: RecordingFailed[] = []
  const recorder = createRecorder({ store, log: createLog('silent'), metrics: createMetrics() })
  const recording = await recorder.start({
    tenant: newTenant(),
    session: newSession(),
    kind: 'terminal',
    cols: 80,
    rows: 24,
    onFailure: (err) => failures.push(err),
  })
  return { recorder, recording, failures }
}

const never = () => new Promise<void>(() => {})

describe('RF-01: below the floor', () => {
  test('no session starts, and the refusal says what to do', async () => {
    await using fixture = await testRecorder({ floorBytes: 2 ** 60 })
    await expect(fixture.begin()).rejects.toMatchObject({
      code: 'ERR_RECORDER_FULL',
      kind: 'unavailable',
      message: expect.stringContaining('make room'),
    })
  })

  test('a small storage has a small floor', async () => {
    const { store } = faultyStore()
    const small = { ...store, space: async () => ({ freeBytes: 90_000, totalBytes: 2 ** 20 }) }
    const { recorder } = await begin(small)
    await recorder.close()
    const full = { ...store, space: async () => ({ freeBytes: 30_000, totalBytes: 2 ** 20 }) }
    await expect(begin(full)).rejects.toMatchObject({ code: 'ERR_RECORDER_FULL' })
  })
})

test('syncs nothing of a recording that is not kept, also while its file is being closed', async () => {
  const { store, disk } = faultyStore()
  const closingMs = 1300
  const slow: Store = {
    ...store,
    create: async (tenant, session) => ({
      ...(await store.create(tenant, session)),
      close: () => new Promise((done) => setTimeout(done, closingMs)),
    }),
  }
  const { recorder, recording, failures } = await begin(slow)
  expect(await recording.end()).toMatchObject({ empty: true, complete: true })
  expect([disk.syncs, failures]).toEqual([0, []])
  await recorder.close()
  // Control: one in which something was seen is.
  const seen = await begin(store)
  seen.recording.inputSeen()
  expect(await seen.recording.end()).toMatchObject({ empty: false, complete: true })
  expect(disk.syncs).toBe(1)
  // What is typed behind its end makes no recording of it.
  const late = await begin(slow)
  const ended = late.recording.end()
  late.recording.inputSeen()
  expect(await ended).toMatchObject({ empty: true })
  expect(disk.syncs).toBe(1)
  await late.recorder.close()
  await seen.recorder.close()
})

describe('RF-03: a storage that fails', () => {
  afterEach(() => void vi.useRealTimers())

  test('is told once, and nothing is let through after', async () => {
    const { store, fault } = faultyStore()
    const { recorder, recording, failures } = await begin(store)
    const shown: string[] = []
    await new Promise<void>((written) => recording.output(Buffer.from('a'), written))
    fault.append = Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' }))
    for (const letter of 'bcd') recording.output(Buffer.from(letter), () => shown.push(letter))
    await vi.waitFor(() => expect(failures).toHaveLength(1), 30_000)
    delete fault.append
    recording.output(Buffer.from('e'), () => shown.push('e'))
    const digest = await recording.end()
    expect(failures).toMatchObject([{ code: 'ERR_RECORDER_FAILED', reason: 'io' }])
    expect(shown).toEqual([])
    expect(digest.complete).toBe(false)
    await recorder.close()
  })

  test.each(['append', 'sync'] as const)(
    'and one that hangs in %s counts as failed',
    async (at) => {
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'performance'] })
      const { store, fault } = faultyStore()
      const { recorder, recording, failures } = await begin(store)
      const shown: string[] = []
      fault[at] = never()
      recording.output(Buffer.from('a'), () => shown.push('a'))
      await vi.advanceTimersByTimeAsync(9000)
      expect(failures).toEqual([])
      await vi.advanceTimersByTimeAsync(3000)
      expect(failures).toMatchObject([{ code: 'ERR_RECORDER_FAILED', reason: 'hung' }])
      expect(shown).toEqual(at === 'append' ? [] : ['a'])
      expect((await recording.end()).complete).toBe(false)
      await recorder.close()
    },
  )

  test('and one that hangs while a recording ends does not hold its end for ever', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'performance'] })
    const { store, fault } = faultyStore()
    const { recorder, recording } = await begin(store)
    fault.sync = never()
    recording.output(Buffer.from('a'), () => {})
    const ended = recording.end()
    await vi.advanceTimersByTimeAsync(11_000)
    expect((await ended).complete).toBe(false)
    await recorder.close()
  })

  test('and one that hangs at the start refuses the session', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'performance'] })
    const { store, fault } = faultyStore()
    fault.create = never()
    const refused = expect(begin(store)).rejects.toMatchObject({ code: 'ERR_RECORDER_FAILED' })
    await vi.advanceTimersByTimeAsync(11_000)
    await refused
  })

  test('waiting output is told in the lag', async () => {
    const { store, fault } = faultyStore()
    const metrics = createMetrics()
    const recorder = createRecorder({ store, log: createLog('silent'), metrics })
    const recording = await recorder.start({
      tenant: newTenant(),
      session: newSession(),
      kind: 'terminal',
      cols: 80,
      rows: 24,
      onFailure: () => {},
    })
    const slow = Promise.withResolvers<void>()
    fault.append = slow.promise
    recording.output(Buffer.from('a'), () => {})
    await vi.waitFor(async () => {
      const lag = /^bastion_recorder_lag_seconds (.+)$/m.exec(await metrics.metrics())?.[1]
      expect(Number(lag)).toBeGreaterThan(0)
    }, 30_000)
    slow.resolve()
    await recorder.close()
  })
})

describe('RF-05: a power cut', () => {
  afterEach(() => void vi.useRealTimers())

  test('cannot take what a digest vouches for', async () => {
    const { store, disk } = faultyStore()
    const { recorder, recording } = await begin(store)
    recording.output(Buffer.from('hello'), () => {})
    const { sha256, bytes } = await recording.end()
    expect(disk.durable.length).toBe(bytes)
    expect(createHash('sha256').update(disk.durable).digest('hex')).toBe(sha256)
    await recorder.close()
  })

  test('takes at most a second of output', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'performance'] })
    const { store, disk } = faultyStore()
    const { recorder, recording } = await begin(store)
    for (let round = 0; round < 5; round++) {
      await new Promise<void>((written) => recording.output(Buffer.from(`${round}`), written))
      const { length } = disk.bytes
      await vi.advanceTimersByTimeAsync(1000)
      expect(disk.durable.length).toBe(length)
    }
    const { syncs } = disk
    await vi.advanceTimersByTimeAsync(5000)
    expect(disk.syncs, 'nothing new, nothing to sync').toBe(syncs)
    await recorder.close()
  })
})

/** Records `yes` until the recorder fails, and prints what a user would have been shown. */
const victim = `
import { createLog } from './src/log.ts'
import { createMetrics } from './src/metrics.ts'
import { createRecorder, openDirStore } from './src/recorder/index.ts'
const [, directory, tenant, session] = process.argv
const recorder = createRecorder({
  store: await openDirStore(directory), log: createLog('silent'), metrics: createMetrics(), floorBytes: 0,
})
const recording = await recorder.start({
  tenant, session, kind: 'terminal', cols: 80, rows: 24,
  async onFailure(err) {
    const { complete } = await recording.end()
    const { readFileSync } = await import('node:fs')
    const cast = readFileSync(directory + '/' + tenant + '/' + session + '.cast').toString('base64')
    process.stdout.write(JSON.stringify({ code: err.code, reason: err.reason, complete, shown, cast }))
  },
})
let shown = 0
const chunk = Buffer.from('y\\r\\n'.repeat(1000))
const next = () => recording.output(chunk, () => { shown += chunk.length; setImmediate(next) })
next()
`

describe('RF-02: a disk that fills up in the middle of a session', () => {
  const mounts = process.getuid?.() === 0 && spawnSync('unshare', ['--mount', 'true']).status === 0

  test.for<[string, boolean, string]>([
    // The mount is in a namespace of the child's own and goes away with it.
    [
      'a full file system',
      mounts,
      'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$0" "$@"',
    ],
    ['a file size limit', true, 'ulimit -f 1000 && shift && exec "$0" "$@"'],
  ])(
    'ends it with everything that was shown on record: %s',
    async ([name, possible, script], { skip }) => {
      skip(!possible, 'this machine does not let us mount')
      const directory = await mkdtemp(join(tmpdir(), 'vaultterm-full-'))
      try {
        const arguments_ = [
          ...['sh', '-c', script, process.execPath, directory],
          ...['--input-type=module', '--eval', victim, directory, newTenant(), newSession()],
        ]
        const [command = '', ...rest] = name.includes('system')
          ? ['unshare', '--mount', ...arguments_]
          : arguments_
        const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] })
        const [answer] = await Promise.all([text(child.stdout), once(child, 'exit')])
        const told = JSON.parse(answer)
        expect(told).toMatchObject({ code: 'ERR_RECORDER_FAILED', reason: 'full', complete: false })
        const cast = parseCast(Buffer.from(told.cast, 'base64').toString())
        expect(told.shown).toBeGreaterThan(0)
        expect(outputBytes(cast.events).length).toBeGreaterThanOrEqual(told.shown)
      } finally {
        await rm(directory, { recursive: true })
      }
    },
  )
})

test('the store of a directory is what the promises are made on', async () => {
  await using fixture = await testRecorder({ floorBytes: 1 })
  const { output, path } = await fixture.begin()
  await output('x')
  expect(readFileSync(path, 'utf8')).toContain('"x"')
  const { freeBytes, totalBytes } = await (await openDirStore(fixture.directory)).space()
  expect(freeBytes).toBeGreaterThan(0)
  expect(totalBytes).toBeGreaterThan(freeBytes)
})
