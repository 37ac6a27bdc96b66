import { fork } from 'node:child_process'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { WorkerPool, type WorkerPoolOptions } from '../../../src/bastion/monitor/worker-pool.ts'
import type { ConnectionId } from '../../../src/bastion/wire/calls.ts'
import { parseConfig } from '../../../src/config.ts'
import { createLog } from '../../../src/log.ts'
import { formatPublicKey } from '../../../src/ssh/index.ts'
import { eventually } from '../../support/installation.ts'
import { silent } from '../../support/postgres.ts'
import { publicKeyOf } from '../../support/ssh-authority.ts'
import { forkWorker } from '../../support/worker-process.ts'
import { actor, openMonitorFixture } from './monitor-fixture.ts'

const { deps, product, somebody } = await openMonitorFixture()
const program = join(import.meta.dirname, 'hostile-worker.ts')
const open: { close(): Promise<unknown> | unknown }[] = []
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close()
})

const settings: WorkerPoolOptions['settings'] = async () => ({
  limits: parseConfig({}).limits,
  hostKeys: [],
  recordings: 'dir:/nonexistent',
  recordedOutputBytes: 1024 ** 2,
  logLevel: 'silent',
})

const until = (isSo: () => boolean) => eventually(() => isSo() || undefined, isSo.toString())

/** Workers that do these things, one after the other; those after them do nothing. */
async function start(deeds: readonly string[], options: Partial<WorkerPoolOptions> = {}) {
  let started = 0
  const pool = await WorkerPool.start({
    fork: () => forkWorker(program, [deeds[started++] ?? 'nothing']),
    settings,
    limits: { workers: 1, softBytes: 1e12, hardBytes: 1e12 },
    deps,
    lease: () => undefined,
    log: silent,
    ...options,
  })
  open.push({ close: () => pool.close(300) })
  return pool
}

/** One worker, and then none that starts. */
function forkOnce(): WorkerPoolOptions['fork'] {
  let isMade = false
  return () => {
    if (isMade) throw new Error('no worker can be made')
    isMade = true
    return forkWorker(program, ['nothing'])
  }
}

/** Clients, each of which is given to a worker of the pool. */
async function clients(pool: WorkerPool, count: number) {
  const accepted: Socket[] = []
  let released = 0
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => socket.destroy())
    accepted.push(socket)
    const admitted = { release: () => void released++ }
    const id = randomUUID() as ConnectionId
    if (
      !pool.serve({ id, socket, source: '198.51.100.9', admitted, acceptedAtMs: performance.now() })
    ) {
      admitted.release()
      socket.destroy()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('no address')
  let closed = 0
  const sockets = Array.from({ length: count }, () =>
    connect(address.port, '127.0.0.1')
      .on('error', () => {})
      .on('close', () => closed++),
  )
  open.push({
    close() {
      for (const socket of [...sockets, ...accepted]) socket.destroy()
      server.close()
    },
  })
  await until(() => accepted.length === count)
  return {
    /** Those of which the client knows that they are over. */
    closed: () => closed,
    /** Those that hang on this process. */
    held: () => accepted.filter((socket) => !socket.destroyed).length,
    released: () => released,
  }
}

test('keeps no end of a connection that a worker has taken', async () => {
  const pool = await start(['take'])
  const some = await clients(pool, 10)
  await until(() => some.held() === 0)
  expect(some.closed()).toBe(0)
})

test('a connection that comes while every worker is dead is given to the next one', async () => {
  const pool = await start(['take', 'take'])
  const [pid] = pool.pids
  process.kill(Number(pid), 'SIGKILL')
  await until(() => pool.pids.length === 0)
  const some = await clients(pool, 10)
  expect(some.held()).toBe(10)
  await until(() => some.held() === 0)
  expect([some.closed(), some.released()]).toEqual([0, 0])
})

test('connections that wait for a worker end with the pool', async () => {
  const pool = await start(['nothing'], { fork: forkOnce() })
  process.kill(Number(pool.pids[0]), 'SIGKILL')
  await until(() => pool.pids.length === 0)
  const some = await clients(pool, 3)
  await sleep(200)
  expect([some.held(), some.released()]).toEqual([3, 0])
  pool.drain()
  await until(() => some.closed() === 3)
  expect(some.released()).toBe(3)
})

test.each([
  ['hangs', 'stand'],
  ['takes nothing', 'hold'],
  ['hangs up', 'disconnect'],
])('attack: no connection hangs on a worker that %s', async (_what, deed) => {
  const pool = await start([deed, 'take'])
  const some = await clients(pool, 20)
  // Those that came too late for it are given to the next one.
  await until(() => some.held() === 0)
  if (deed === 'disconnect') return
  expect(some.released()).toBe(20)
  // One that lives may keep what it was given to itself: it counts for nobody any more.
  if (deed === 'stand') await until(() => some.closed() === 20)
})

test('attack: a worker drops all that it gets, and so has the fewest connections', async () => {
  const pool = await start(['drop', 'take'], {
    limits: { workers: 2, softBytes: 1e12, hardBytes: 1e12 },
  })
  let dropped = 0
  for (let count = 0; count < 32; count++) {
    const one = await clients(pool, 1)
    await until(() => one.held() === 0)
    dropped += one.released()
  }
  // Half, and one in eight more.
  expect(dropped).toBeLessThanOrEqual(18)
})

test('attack: a worker that asks for what is not its own, again and again, is killed', async () => {
  const pool = await start(['forge'])
  const [before] = pool.pids
  await clients(pool, 1)
  await until(() => pool.pids.length === 1 && pool.pids[0] !== before)
})

test('attack: a tenant whose log hangs does not keep a dead worker from being replaced', async () => {
  const { tenant, slug } = await somebody()
  const { privateKey } = generateKeyPairSync('ed25519')
  const line = formatPublicKey(publicKeyOf(privateKey))
  await product.auth.addKey(tenant, 'demo', line, {}, actor)
  await product.access.addGrant(tenant, { user: 'demo', target: 'web1', allow: ['agent'] }, actor)
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' })
  const login = JSON.stringify({ user: slug, pem })
  const hung = Promise.withResolvers<void>()
  const pool = await start([], {
    fork: () => forkWorker(program, ['go-on', login]),
    deps: { ...deps, access: { ...deps.access, closeForward: () => hung.promise } },
  })
  const [before = 0] = pool.pids
  await clients(pool, 1)
  const types = async () =>
    (await product.audit.tail(tenant, { limit: 100 })).map(({ type }) => type)
  await expect.poll(types).toContain('forward.open')
  process.kill(before, 'SIGKILL')
  await until(() => pool.pids.length === 1 && pool.pids[0] !== before)
  hung.resolve()
})

test('says so when no worker can be started, and tries again', async () => {
  let isThere = true
  const nowhere = () =>
    fork(program, [], {
      stdio: ['ignore', 2, 'inherit', 'ipc', 'pipe', 'pipe'],
      execPath: '/nonexistent/node',
    })
  const pool = await start([], {
    fork: () => (isThere ? forkWorker(program, ['nothing']) : nowhere()),
  })
  isThere = false
  await expect(pool.restart()).rejects.toThrow('could not be started')
  // It serves on with what there is.
  const [pid = 0] = pool.pids
  expect(pid).toBeGreaterThan(0)
  process.kill(pid, 'SIGKILL')
  await until(() => pool.pids.length === 0)
  await sleep(1200)
  isThere = true
  await until(() => pool.pids.length === 1)
})

test('tries again when the settings of a worker could not be read', async () => {
  let failures = 0
  const pool = await start([], {
    settings: async () => {
      if (failures-- > 0) throw new Error('too many open files')
      return settings()
    },
  })
  failures = 2
  process.kill(pool.pids[0] ?? 0, 'SIGKILL')
  await until(() => failures < 0 && pool.pids.length === 1)
})

test('has as many workers as it should, whatever dies while they are replaced', async () => {
  const pool = await start([])
  for (let round = 0; round < 3; round++) {
    const [pid = 0] = pool.pids
    const restarted = pool.restart()
    process.kill(pid, 'SIGKILL')
    await restarted
    await sleep(1000)
  }
  await until(() => pool.pids.length === 1)
})

test('attack: sessions in old workers are cut by one restart after the other', async () => {
  const warnings: string[] = []
  const log = createLog('warn', { write: (line) => void warnings.push(line) })
  const fork = () => forkWorker(program, ['linger'])
  const pool = await start([], { fork, log, drainingMax: 2 })
  for (let count = 0; count < 2; count++) await pool.restart()
  const before = pool.pids
  let isOver = false
  const third = pool.restart().then(() => (isOver = true))
  await until(() => warnings.some((line) => line.includes('workers are replaced later')))
  expect(pool.pids).toEqual(before)
  // Asked for again, it waits on.
  const fourth = pool.restart()
  await sleep(0)
  expect([before.length, isOver]).toEqual([3, false])
  process.kill(Number(before[1]), 'SIGKILL')
  await Promise.all([third, fourth])
  expect(pool.pids).toHaveLength(3)
  expect(pool.pids.slice(0, 2)).toEqual([before[0], before[2]])
})
