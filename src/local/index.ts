/**
 * A whole installation on one machine: where its state lies and who holds it, and the servers
 * (Postgres, Redis) that `up` runs for itself. Everything it starts ends with the process that
 * started it, kill -9 included. `serve` keeps its name and its host keys here, and nothing else.
 */

export { type BootstrapDeps, type Demo, startDemo } from './bootstrap.ts'
export type { BastionAddress } from './demo-client.ts'
export {
  HomeInUse,
  HomeMissing,
  HomeUnusable,
  HostKeyUnusable,
  PostgresServerFailed,
} from './errors.ts'
export { claimHome, type Home, type HomePaths, homePaths } from './home.ts'
export { keepHostKeys } from './host-keys.ts'
export { keepKekFile } from './kek-file.ts'
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
export { type Visit, visitHome } from './visit.ts'
