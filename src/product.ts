import { resolve } from 'node:path'
import { type Access, createAccess, tagOldTargets } from './access/index.ts'
import { type Audit, createAudit } from './audit/index.ts'
import { type AdminAuth, type Auth, createAdminAuth, createAuth, tagOldKeys } from './auth/index.ts'
import { type Ca, createCa, loginCertificates } from './ca/index.ts'
import type { Datastores } from './config.ts'
import { createJobs, type Jobs } from './jobs/index.ts'
import type { Log } from './log.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import {
  type Database,
  holdLease,
  type InstanceId,
  type NodeLease,
  newInstanceId,
  openDatabase,
  requireSchema,
  requireUnchanged,
} from './postgres/index.ts'
import { createRecorder, openDirStore, type Recorder } from './recorder/index.ts'
import { type Coordination, openCoordination } from './redis/index.ts'
import { createTenants, type Tenants } from './tenant/index.ts'
import { createVault, openKek, type Vault } from './vault/index.ts'

/** The modules that the faces use. */
export interface Product {
  readonly tenants: Tenants
  readonly auth: Auth
  readonly adminAuth: AdminAuth
  readonly access: Access
  readonly ca: Ca
  readonly vault: Vault
  readonly audit: Audit
  readonly recorder: Recorder
  readonly coordination: Coordination
  readonly jobs: Jobs
  readonly database: Database
  /** Of a process that serves. */
  readonly lease: NodeLease | undefined
  readonly log: Log
  readonly metrics: Metrics
  /** Closes everything that is open, in reverse order. */
  close(): Promise<void>
}

/** From src/ and from dist/ alike. */
export const migrations = resolve(import.meta.dirname, '../migrations')

/** Builds every module in the order of their dependencies. Serves nothing yet. */
export async function openProduct(
  datastores: Datastores,
  {
    log,
    metrics,
    egress,
    signedHeads,
    serve,
  }: {
    readonly log: Log
    readonly metrics: Metrics
    readonly egress: string | undefined
    /** The file in which this node remembers the heads that it signed; undefined without a home. */
    readonly signedHeads?: string | undefined
    /** Of a process that serves. A command acts for no node. */
    readonly serve?: { readonly node: string; readonly leaseMs: number }
  },
): Promise<Product> {
  const closing = new AsyncDisposableStack()
  try {
    const instance = serve && newInstanceId()
    const database = openDatabase({
      url: datastores.database.app,
      role: 'vaultterm_app',
      log,
      metrics,
      ...(instance && { instance }),
    })
    closing.defer(() => database.close())
    await requireSchema(database, migrations)
    if (serve !== undefined) await requireDoors(database, log)
    const lease =
      instance && (await openLease(datastores, { instance, ...serve, log, metrics }, closing))
    const jobs = createJobs({ database, url: datastores.database.jobs, log, metrics })
    const kek = await openKek(datastores.kek)
    const vault = createVault({ database, kek, log, metrics })
    closing.defer(() => vault.close())
    const signer = () => vault.checkpointSigner()
    const { owner } = datastores.database
    const audit = createAudit({ database, log, metrics, signer, signedHeads, owner })
    closing.defer(() => audit.close())
    const store = await openDirStore(recordingsDirectory(datastores))
    const recorder = createRecorder({ store, log, metrics })
    closing.defer(() => recorder.close())
    const coordination = await openCoordination(datastores.redisUrl, log, metrics)
    closing.defer(() => coordination.close())
    const adminAuth = createAdminAuth({ database, vault, log, metrics })
    const tenants = createTenants({ database, vault, log })
    const { registry } = coordination
    const ca = createCa({ database, vault, egress, metrics })
    const auth = createAuth({ database, vault, certificates: loginCertificates(ca), log, metrics })
    const access = createAccess({ database, vault, ca, registry, log, metrics })
    await vault.tagOldTenants(
      async (tx, tag) => (await tagOldTargets(tx, tag)) + (await tagOldKeys(tx, tag)),
    )
    closing.defer(() => access.close())
    const close = closing.move()
    return {
      tenants,
      auth,
      adminAuth,
      access,
      ca,
      vault,
      audit,
      recorder,
      coordination,
      jobs,
      database,
      lease,
      log,
      metrics,
      close: () => close.disposeAsync(),
    }
  } catch (err) {
    await closing.disposeAsync()
    throw err
  }
}

/** A process does not serve where an act may leave no trace. The rest is a warning. */
async function requireDoors(database: Database, log: Log): Promise<void> {
  const { others, unknown } = await requireUnchanged(database)
  if (others.length > 0) {
    log.error({ changed: others }, 'the database is not as the migrations make it: run doctor')
  }
  if (unknown.length > 0) {
    log.warn({ unknown }, 'the database has newer migrations: its functions are not compared')
  }
}

/** With a connection of its own: however busy the others are, the lease is renewed. */
async function openLease(
  datastores: Datastores,
  options: {
    readonly instance: InstanceId
    readonly node: string
    readonly leaseMs: number
    readonly log: Log
    readonly metrics: Metrics
  },
  closing: AsyncDisposableStack,
): Promise<NodeLease> {
  const answerMs = Math.max(500, Math.floor(options.leaseMs / 9))
  const database = openDatabase({
    url: datastores.database.app,
    role: 'vaultterm_app',
    log: options.log,
    // Its transactions are no work of this process: they would blur the figures of the others.
    metrics: createMetrics(),
    poolMax: 1,
    limits: { waitMs: answerMs, statementMs: answerMs, lockMs: answerMs, waitingMax: 2 },
  })
  closing.defer(() => database.close())
  const lease = await holdLease({ ...options, database })
  closing.defer(() => lease.release())
  return lease
}

/** Where recordings are, whole. */
export function recordingsDirectory({ recordings }: Datastores): string {
  return resolve(recordings.replace(/^dir:/, ''))
}
