import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { protectedDestinations } from '../src/bastion/index.ts'
import { parseConfig, requireDatastores } from '../src/config.ts'
import { readConnectionUrl, showConnectionUrl } from '../src/connection-url.ts'
import { createLog } from '../src/log.ts'
import { describeConfig } from '../src/main/check-config.ts'
import { openCoordination } from '../src/redis/index.ts'
import { Secret } from '../src/secret.ts'
import { silent } from './support/postgres.ts'

const secret = 'hunter2'
/** Each has a password that makes of it no URL, or another one than was meant. */
const bad = [
  `://app:${secret}@db:port/vaultterm`,
  `://app:${secret}@db:99999/vaultterm`,
  `://app:${secret}@db one/vaultterm`,
  `://app:${secret}@[::1/vaultterm`,
  `://app:/${secret}@db/vaultterm`,
  `://app:12/${secret}@db/vaultterm`,
  `://app:12#${secret}@db/vaultterm`,
  `://app:12?${secret}@db/vaultterm`,
  `://app:${secret}#x@db/vaultterm`,
  `://app:${secret}%@db/vaultterm`,
  `://app:%ff${secret}@db/vaultterm`,
]
const settings = [
  ['DATABASE_URL', 'postgres'],
  ['VAULTTERM_OWNER_DATABASE_URL', 'postgresql'],
  ['VAULTTERM_BASTION_DATABASE_URL', 'postgres'],
  ['VAULTTERM_JOBS_DATABASE_URL', 'postgres'],
  ['REDIS_URL', 'redis'],
  ['REDIS_URL', 'rediss'],
] as const

/** Everything that a log, a terminal or a crash shows of what work throws. */
async function shown(work: () => unknown): Promise<string> {
  try {
    await work()
  } catch (err) {
    const lines: string[] = []
    const log = createLog('error', { write: (line) => lines.push(line) })
    log.error({ err }, 'failed')
    return `${inspect(err, { depth: null, showHidden: true })}\n${lines.join('')}`
  }
  throw new Error('nothing was thrown')
}

test.each(settings)('attack: no error about %s as %s tells its password', async (name, scheme) => {
  for (const url of bad.map((rest) => scheme + rest)) {
    const text = await shown(() => parseConfig({ [name]: url }))
    expect(text, url).toContain(`${name} is not a URL that can be read`)
    expect(text, url).not.toContain(secret)
  }
})

test('attack: nothing behind the settings tells a password either', async () => {
  const config = parseConfig({})
  for (const rest of bad) {
    const url = new Secret(`postgres${rest}`)
    const database = { owner: url, app: url, bastion: url, jobs: url }
    const stores = { database, redisUrl: undefined, kek: 'file:/k', recordings: 'dir:/r' }
    expect(await shown(() => protectedDestinations(config, stores, [])), rest).not.toContain(secret)
    const redis = new Secret(`redis${rest}`)
    expect(await shown(() => openCoordination(redis, silent)), rest).not.toContain(secret)
    expect(showConnectionUrl(`postgres${rest}`), rest).toBe('…')
  }
})

test('attack: a missing setting is told without the others', async () => {
  const url = `postgres://app:${secret}@db/x?application_name= is missing: `
  const text = await shown(() => requireDatastores(parseConfig({ DATABASE_URL: url })))
  expect(text).toContain('REDIS_URL is missing')
  expect(text).not.toContain(secret)
})

test.each([
  [`postgres://app:${secret}@db/vaultterm`, 'postgres://…@db/vaultterm'],
  [
    `postgres://app:x@${secret}@db:6543/vaultterm?sslmode=require`,
    'postgres://…@db:6543/vaultterm',
  ],
  [`postgres://app:${secret}%2F@%2Frun%2Fpg/vaultterm`, 'postgres://…@%2Frun%2Fpg/vaultterm'],
  [`redis://:${secret}@cache:6380/1`, 'redis://…@cache:6380/1'],
  [`unix:///run/redis.sock?password=${secret}`, 'unix:///run/redis.sock'],
  ['redis://cache', 'redis://cache'],
])('shows %s without its login', (url, expected) => {
  expect(showConnectionUrl(url)).toBe(expected)
  const name = url.startsWith('postgres') ? 'DATABASE_URL' : 'REDIS_URL'
  expect(describeConfig(parseConfig({ [name]: url }), { serve: false })[name]).toBe(expected)
})

test.each([
  ['postgres://a:b@db/x', [5432], []],
  ['postgresql://db:6543/x', [6543], []],
  ['postgres://a:b@%2Frun%2Fpg/x', [5432], ['/run/pg']],
  // The forms without a host, and those whose query has it.
  ['postgres://a:b@/x?host=/run/pg&port=6000', [5432, 6000], ['/run/pg']],
  ['postgres://a:b@db/x?host=/run/pg', [5432], ['/run/pg']],
  ['redis://:b@cache/1', [6379], []],
  ['rediss://cache:6390', [6390], []],
  ['redis://cache?path=/run/redis/r.sock', [6379], ['/run/redis']],
  ['unix:///run/redis%20one/r.sock?password=a@b', [], ['/run/redis one']],
])('reads where %s leads', (url, ports, directories) => {
  expect(readConnectionUrl(url)).toEqual({ ports, directories })
})

test('knows every place of its own datastores, however their URLs name them', () => {
  const url = new Secret('postgres://a:b@/x?host=/run/pg')
  const database = {
    owner: url,
    app: url,
    bastion: url,
    jobs: new Secret('postgres://a:b@db:6000/x'),
  }
  const stores = {
    database,
    redisUrl: new Secret('unix:///run/redis/r.sock'),
    kek: 'file:/etc/vt/kek',
    recordings: 'dir:/var/rec',
  }
  const { ports, directories } = protectedDestinations(
    parseConfig({ VAULTTERM_HOME: '/home/vt' }),
    stores,
    [{ host: '127.0.0.1', port: 2222 }],
  )
  expect(new Set(ports)).toEqual(new Set([2222, 5432, 6000]))
  expect(new Set(directories)).toEqual(
    new Set(['/home/vt', '/run/pg', '/run/redis', '/etc/vt', '/var/rec']),
  )
})
