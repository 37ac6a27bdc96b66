/**
 * The storage of all data that must not be lost: Postgres, one pool for each role.
 *
 * The tenant is in the transaction and the transaction is in the signature. So no code reaches a
 * tenant's row without that tenant's setting, and row security enforces it, not the caller. A pool
 * whose role could bypass row security does not open.
 */

export { type Administration, administer } from './administration.ts'
export { type Database, type Listening, openDatabase, type PoolLimits } from './database.ts'
export {
  DatabaseRoleWrong,
  DatabaseUnavailable,
  listNames,
  MigrationEdited,
  NodeLeaseLost,
  raised,
  SchemaAhead,
  SchemaBehind,
  SchemaChanged,
  type Violation,
  violation,
} from './errors.ts'
export { type InstanceId, newInstanceId } from './instance-id.ts'
export { listDatabaseSettings, listLoginSettings } from './login-settings.ts'
export { migrate } from './migrate.ts'
export type { MigrationSource } from './migration-source.ts'
export {
  claimEndedInstances,
  type EndedInstance,
  endExpiredInstances,
  giveBackInstances,
  listOverdueInstances,
  removeOldInstances,
  restoreInstances,
  settleInstances,
} from './node-instances.ts'
export { holdLease, type NodeLease } from './node-lease.ts'
export { notificationUsage, notificationUsageMax } from './notification-queue.ts'
export { actOnce, actOnceInSecret, OnceDone, OnceKeyUsed, type OnceRequest } from './once.ts'
export { openQueueConnection, type QueueConnection } from './queue-connection.ts'
export { requireSchema, requireUnchanged, type SchemaState, schemaState } from './schema.ts'
export { findSchemaChanges, type SchemaChanges } from './schema-objects.ts'
export { parseTenantId, systemTenant, type TenantId } from './tenant-id.ts'
export type { ReadTx, WriteTx } from './transaction.ts'
