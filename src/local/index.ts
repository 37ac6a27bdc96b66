/**
 * A whole installation on one machine: where its state lies and who holds it, and the servers
 * (Postgres, Redis) that `up` runs for itself. Nothing of it is used by `serve`.
 */

export { PostgresServerFailed } from './postgres-failed.ts'
export {
  type PostgresLogin,
  type PostgresServer,
  type PostgresServerOptions,
  startPostgres,
} from './postgres-server.ts'
export { type RedisServer, startRedis } from './redis-server.ts'
