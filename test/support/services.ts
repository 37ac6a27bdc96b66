import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { startPostgres, startRedis } from '../../src/local/index.ts'
import { createLog } from '../../src/log.ts'
import { Secret } from '../../src/secret.ts'
import { makeRsaKeys } from './rsa-keys.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The superuser's connection to the run's one Postgres server; each test file makes its own database. */
    readonly postgresUrl: string
    /** The run's real Redis server, or '' where none is installed (`npm test` sees to it that one is). */
    readonly redisUrl: string
    /** The directory of the run's RSA keys. */
    readonly rsaKeys: string
    /** The directory of the home that tests copy: see begun-homes. */
    readonly begunHomes: string
  }
}

/** The servers of a whole test run: started once, before the first file, and ended after the last. */
export default async function startServices(project: TestProject): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'vaultterm-test-'))
  const log = createLog(process.env.VAULTTERM_LOG ?? 'warn')
  const postgres = await startPostgres({
    directory: join(directory, 'postgres'),
    superuserPassword: new Secret(randomBytes(18).toString('base64url')),
    log,
    // Nothing of a test run is kept, so nothing has to reach the disk.
    settings: {
      fsync: 'off',
      synchronous_commit: 'off',
      full_page_writes: 'off',
      // Files of tests keep the pools of all their nodes until their end.
      max_connections: '1000',
      shared_buffers: '64MB',
    },
  })
  const redis = await startRedis({ directory: join(directory, 'redis'), log })
  const rsaKeys = join(directory, 'rsa')
  // A run of a few files ends before they are made.
  makeRsaKeys(rsaKeys).catch(() => {})
  project.provide('rsaKeys', rsaKeys)
  project.provide('begunHomes', join(directory, 'begun'))
  project.provide('postgresUrl', postgres.superuserUrl.reveal())
  project.provide('redisUrl', redis?.url.reveal() ?? '')
  return async () => {
    await redis?.stop()
    await postgres.stop()
    await rm(directory, { recursive: true, force: true })
  }
}
