/**
 * A whole installation on one machine: the home with its state, the lock on it, and the servers
 * (Postgres, Redis, demo target) that `up` runs for itself. Everything it starts ends with the
 * process that started it, kill -9 included. `serve` keeps only its host keys and its name here.
 *
 * No file is read from a home or run from it if a user other than root and ourselves can change it.
 */

export { type BootstrapDeps, type Demo, startDemo } from './bootstrap.ts'
export type { BastionAddress } from './demo-client.ts'
export {
  FileUntrusted,
  HomeInUse,
  HomeMissing,
  HomeUnusable,
  HostKeyUnusable,
  PostgresServerFailed,
} from './errors.ts'
export { claimHome, type Home, type HomePaths, homePaths } from './home.ts'
export { keepHostKeys } from './host-keys.ts'
export { keepKekFile } from './kek-file.ts'
export { keepRunning } from './kept-server.ts'
export { hasLocalDatabase, type LocalDatabase, startLocalDatabase } from './local-database.ts'
export { keepNodeName } from './node-name.ts'
export {
  type PostgresLogin,
  type PostgresServer,
  type PostgresServerOptions,
  startPostgres,
} from './postgres-server.ts'
export { type RedisServer, startRedis } from './redis-server.ts'
export { type Run, type RunFacts, readRun } from './run-file.ts'
export { quoted, resolveTrusted } from './trusted-path.ts'
export { type Visit, visitHome } from './visit.ts'
