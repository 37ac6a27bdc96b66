import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inject, onTestFinished } from 'vitest'
import { type RedisServer, startRedis } from '../../src/local/index.ts'
import { Secret } from '../../src/secret.ts'
import { silent } from './postgres.ts'

/** The run's Redis. Tests share it: each uses tenants of its own. */
export function redisUrl(): Secret<string> {
  const url = inject('redisUrl')
  if (url === '') throw new Error('no redis-server: apt-get install redis-server')
  return new Secret(url)
}

/** A server that a test may stop, freeze and fill with junk; gone when the test is over. */
export async function startOwnRedis(): Promise<RedisServer> {
  const directory = await mkdtemp(join(tmpdir(), 'redis-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const server = await startRedis({ directory, log: silent })
  if (server === undefined) throw new Error('no redis-server: apt-get install redis-server')
  onTestFinished(() => server.stop())
  return server
}
