import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type LiveSession, openCoordination } from '../../src/redis/index.ts'
import { redisKey } from '../../src/redis/key.ts'
import { Secret } from '../../src/secret.ts'
import { silent } from '../support/postgres.ts'
import { redisUrl, startOwnRedis } from '../support/redis.ts'

const live = (tenant: string, change: Partial<LiveSession> = {}): LiveSession => ({
  tenant,
  session: randomUUID(),
  node: 'n1',
  user: 'ann',
  target: 'web1',
  login: 'root',
  kind: 'shell',
  startedAt: '2026-11-23T10:00:00.000Z',
  ...change,
})

async function open(url: Secret<string> | undefined, log = silent, metrics?: Registry) {
  const coordination = await openCoordination(url, log, metrics)
  onTestFinished(() => coordination.close())
  return coordination
}

function rawClient(url: Secret<string>): Redis {
  const redis = new Redis(new URL(url.reveal()).pathname)
  onTestFinished(() => redis.disconnect())
  return redis
}

/** What every implementation promises. */
const implementations: [kind: string, url: () => Secret<string> | undefined][] = [
  ['redis', redisUrl],
  ['in-process', () => undefined],
]
describe.each(implementations)('coordination by %s', (kind, url) => {
  test('says which it is, and answers a ping', async () => {
    const coordination = await open(url())
    expect(coordination.kind).toBe(kind)
    await coordination.ping()
  })

  test('lists the sessions of a tenant, oldest first, and of no other', async () => {
    const { registry } = await open(url())
    const [acme, globex] = [randomUUID(), randomUUID()]
    const late = live(acme, { startedAt: '2026-11-23T10:00:01.000Z' })
    const early = live(acme)
    await registry.put(late, 60_000)
    await registry.put(early, 60_000)
    expect(await registry.list(acme)).toEqual([early, late])
    expect(await registry.list(globex)).toEqual([])
  })

  test('renews a session instead of entering it twice', async () => {
    const { registry } = await open(url())
    const entry = live(randomUUID())
    await registry.put(entry, 60_000)
    await registry.put({ ...entry, target: 'web2' }, 60_000)
    expect(await registry.list(entry.tenant)).toEqual([{ ...entry, target: 'web2' }])
  })

  test('takes a session out, also twice', async () => {
    const { registry } = await open(url())
    const entry = live(randomUUID())
    await registry.put(entry, 60_000)
    await registry.remove(entry.tenant, entry.session)
    await registry.remove(entry.tenant, entry.session)
    expect(await registry.list(entry.tenant)).toEqual([])
  })

  test('takes nothing out for another tenant', async () => {
    const { registry } = await open(url())
    const entry = live(randomUUID())
    await registry.put(entry, 60_000)
    await registry.remove(randomUUID(), entry.session)
    expect(await registry.list(entry.tenant)).toEqual([entry])
  })

  test('forgets a session that nobody renews', async () => {
    const { registry } = await open(url())
    const [entry, stays] = [live('t'), live('t')]
    const tenant = randomUUID()
    await registry.put({ ...entry, tenant }, 30)
    await registry.put({ ...stays, tenant }, 60_000)
    await expect.poll(() => registry.list(tenant)).toEqual([{ ...stays, tenant }])
  })

  test('holds what a hostile name holds, as it is', async () => {
    const { registry } = await open(url())
    const entry = live(randomUUID(), { session: '*', user: 'a:b\r\nFLUSHALL\r\n', target: '{x}' })
    await registry.put(entry, 60_000)
    expect(await registry.list(entry.tenant)).toEqual([entry])
  })
})

test('shows one node the sessions of another', async () => {
  const [here, there] = [await open(redisUrl()), await open(redisUrl())]
  const entry = live(randomUUID())
  await here.registry.put(entry, 60_000)
  expect(await there.registry.list(entry.tenant)).toEqual([entry])
  await here.registry.remove(entry.tenant, entry.session)
  expect(await there.registry.list(entry.tenant)).toEqual([])
})

test('makes distinct keys of distinct parts', () => {
  const part = fc.string({ unit: 'binary' })
  const parts = fc.oneof(
    fc.tuple(fc.constant('live' as const), part),
    fc.tuple(fc.constant('live-session' as const), part, part),
  )
  fc.assert(
    fc.property(parts, parts, (a, b) => {
      const same = JSON.stringify(a) === JSON.stringify(b)
      expect(redisKey(...a) === redisKey(...b)).toBe(same)
      expect(redisKey(...a)).toMatch(/^vaultterm:live(-session)?:[A-Za-z0-9_-]{43}$/)
    }),
  )
  expect(redisKey('live-session', 'a', 'b:c')).not.toBe(redisKey('live-session', 'a:b', 'c'))
})

test.each([
  ['no JSON', '{'],
  ['another shape', '{"session":1}'],
  ['a number', '7'],
  ['a prototype', '{"__proto__":{"tenant":"x"}}'],
  ['nothing', ''],
])('passes over %s in the place of a session', async (_, junk) => {
  const { registry } = await open(redisUrl())
  const entry = live(randomUUID())
  const other = await open(redisUrl())
  await other.registry.put(entry, 60_000)
  expect(await registry.list(entry.tenant)).toEqual([entry])
  await rawClient(redisUrl()).set(redisKey('live-session', entry.tenant, entry.session), junk)
  expect(await registry.list(entry.tenant)).toEqual([])
})

test('passes over the session of another tenant in the place of one', async () => {
  const { registry } = await open(redisUrl())
  const [mine, foreign] = [live(randomUUID()), live(randomUUID())]
  const redis = rawClient(redisUrl())
  await redis.zadd(redisKey('live', mine.tenant), Date.now() + 60_000, foreign.session)
  await redis.set(redisKey('live-session', mine.tenant, foreign.session), JSON.stringify(foreign))
  expect(await registry.list(mine.tenant)).toEqual([])
})

test('makes its set anew where something of another kind stands in its place', async () => {
  const [here, there] = [await open(redisUrl()), await open(redisUrl())]
  const entry = live(randomUUID())
  await rawClient(redisUrl()).set(redisKey('live', entry.tenant), 'junk')
  expect(await there.registry.list(entry.tenant)).toEqual([])
  await here.registry.put(entry, 60_000)
  expect(await there.registry.list(entry.tenant)).toEqual([entry])
})

test('goes on alone while redis is away, says so once, and comes back by itself', async () => {
  const server = await startOwnRedis()
  const lines: string[] = []
  const log = pino({ level: 'info' }, { write: (line) => lines.push(line) })
  const metrics = new Registry()
  const password = randomUUID()
  await rawClient(server.url).config('SET', 'requirepass', password)
  const url = new Secret(`${server.url.reveal()}?password=${password}`)
  const { registry, ping } = await open(url, log, metrics)
  await ping()
  const entry = live(randomUUID())
  await registry.put(entry, 60_000)
  await server.stop()

  await expect(ping()).rejects.toMatchObject({ code: 'ERR_REDIS_UNAVAILABLE' })
  await registry.put(entry, 60_000)
  expect(await registry.list(entry.tenant)).toEqual([entry])
  await registry.remove(entry.tenant, entry.session)
  expect(await registry.list(entry.tenant)).toEqual([])
  expect(lines.filter((line) => line.includes('redis lost'))).toHaveLength(1)
  expect(await metrics.metrics()).toMatch(/^bastion_redis_up 0$/m)
  expect(lines.join('')).not.toContain(password)
})

test('waits a bounded time for a redis that stands still, and recovers when it moves', async () => {
  const server = await startOwnRedis()
  const { registry, ping } = await open(server.url)
  const entry = live(randomUUID())
  process.kill(server.pid, 'SIGSTOP')
  try {
    await registry.put(entry, 60_000)
    expect(await registry.list(entry.tenant)).toEqual([entry])
    await expect(ping()).rejects.toMatchObject({ code: 'ERR_REDIS_UNAVAILABLE' })
  } finally {
    process.kill(server.pid, 'SIGCONT')
  }
  await expect
    .poll(() =>
      ping().then(
        () => 'up',
        () => 'away',
      ),
    )
    .toBe('up')
})

test('starts without a redis, and is not ready until there is one', async () => {
  const { ping, registry } = await open(new Secret('redis://127.0.0.1:1'))
  await expect(ping()).rejects.toMatchObject({ code: 'ERR_REDIS_UNAVAILABLE' })
  await registry.put(live('t'), 1000)
  await sleep(0)
})

test('enters its sessions again after somebody emptied redis', async () => {
  const server = await startOwnRedis()
  const [here, there] = [await open(server.url), await open(server.url)]
  const entry = live(randomUUID())
  await here.registry.put(entry, 60_000)
  await rawClient(server.url).flushall()
  expect(await here.registry.list(entry.tenant)).toEqual([entry])
  expect(await there.registry.list(entry.tenant)).toEqual([])
  await here.registry.put(entry, 60_000)
  expect(await there.registry.list(entry.tenant)).toEqual([entry])
})
