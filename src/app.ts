import { resolve } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { type Access, createAccess, tagOldTargets } from './access/index.ts'
import { createAdmin } from './admin/index.ts'
import { type Audit, createAudit } from './audit/index.ts'
import { type AdminAuth, type Auth, createAdminAuth, createAuth, tagOldKeys } from './auth/index.ts'
import {
  type Bastion,
  createBastion,
  createBastionMetrics,
  type ForkWorker,
  type OwnPlaces,
  ownPlaces,
} from './bastion/index.ts'
import { type Ca, createCa, loginCertificates } from './ca/index.ts'
import type { Config, Datastores, Listen } from './config.ts'
import type { Log } from './log.ts'
import { createMetrics, type Metrics, mergeMetrics } from './metrics.ts'
import { createPortal } from './portal/index.ts'
import {
  type Database,
  holdLease,
  type InstanceId,
  type NodeLease,
  type NodeLeaseLost,
  newInstanceId,
  openDatabase,
  requireSchema,
} from './postgres/index.ts'
import { createRecorder, openDirStore, type Recorder } from './recorder/index.ts'
import { type Coordination, openCoordination } from './redis/index.ts'
import type { ServerHostKey } from './ssh/index.ts'
import { createTenants, type Tenants } from './tenant/index.ts'
import { createVault, openKek, type Vault, VaultSealed } from './vault/index.ts'

/** Everything that the faces stand on. */
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
  readonly database: Database
  /** Of a process that serves. */
  readonly lease: NodeLease | undefined
  readonly log: Log
  readonly metrics: Metrics
  /** Ends what is open, in reverse. */
  close(): Promise<void>
}

/** Where it accepts connections. */
export interface Ready {
  readonly ssh: Listen
  readonly portal: Listen
  readonly admin: Listen
}

/** A running bastion with its pages. */
export interface App {
  readonly ready: Ready
  /** Sessions open now. */
  readonly sessions: number
  /** Resolves when another process has taken this one's lease: it must end. */
  readonly lost: Promise<NodeLeaseLost>
  /** Accepts nobody new, and waits for live sessions to end: true when all did within the time. */
  drain(withinMs: number): Promise<boolean>
  /** Replaces the processes that parse what strangers send, one by one; nobody is refused or cut off. */
  restartWorkers(): Promise<void>
  /** Ends what is left. The product stays open: it is the caller's. */
  close(): Promise<void>
}

/** From src/ and from dist/ alike. */
export const migrations = resolve(import.meta.dirname, '../migrations')

/** Builds every module in the order in which they need each other. Serves nothing yet. */
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
    const lease =
      instance && (await openLease(datastores, { instance, ...serve, log, metrics }, closing))
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
    const adminAuth = createAdminAuth({ database, log, metrics })
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

/**
 * Starts to serve: opens the bastion and the pages. Resolves when all of them accept connections. What
 * lost processes left behind is mended meanwhile, and nobody waits for that.
 */
export async function startApp(options: {
  readonly config: Config
  readonly datastores: Datastores
  readonly product: Product
  /** Read anew for each worker: keys and certificates may be renewed. */
  readonly hostKeys: () => Promise<readonly ServerHostKey[]>
  readonly fork: ForkWorker
}): Promise<App> {
  const { config, datastores, product, hostKeys, fork } = options
  const { access, recorder, audit, lease, log } = product
  if (lease === undefined) throw new Error('the product was not opened to serve')
  const { node } = lease
  const closing = new AsyncDisposableStack()
  try {
    const mend: Recorder['recover'] = (unended) => recorder.recover(unended)
    closing.defer(access.serveUnder(lease, config.nodeLeaseMs, mend))
    audit.startPublisher()
    const listeners: Listen[] = []
    const own = () => ownPlaces(config, datastores, listeners)
    const serving = { hostKeys, fork, lease, config, own }
    const bastion = await openBastion(datastores, product, serving, closing)
    lease.onLapse(() => bastion.leaseLapsed())
    const page = mergeMetrics(product.metrics, () => bastion.metrics())
    const checks = readiness(product)
    const publicUrl = config.publicUrl
    const portal = await createPortal({ ...product, page, publicUrl, checks })
    closing.defer(() => portal.close())
    const admin = await createAdmin({ ...product, publicUrl: undefined, checks })
    closing.defer(() => admin.close())
    // The SSH face last: what it prints may lead to the pages.
    const ready = {
      portal: await listenHttp(portal, config.portal),
      admin: await listenHttp(admin, config.admin),
      ssh: await bastion.listen(config.ssh),
    }
    listeners.push(ready.portal, ready.admin, ready.ssh)
    log.info({ ...ready, node, instance: lease.instance }, 'accepting connections')
    const close = closing.move()
    return {
      ready,
      get sessions() {
        return bastion.sessions
      },
      lost: lease.lost,
      drain: (withinMs) => bastion.drain(withinMs),
      restartWorkers: () => bastion.restart(),
      close: () => close.disposeAsync(),
    }
  } catch (err) {
    await closing.disposeAsync()
    throw err
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

/** What serves strangers looks tenants up as a role that can read no secret. */
async function openBastion(
  datastores: Datastores,
  product: Product,
  serving: {
    readonly hostKeys: () => Promise<readonly ServerHostKey[]>
    readonly fork: ForkWorker
    readonly lease: NodeLease
    readonly config: Config
    readonly own: () => OwnPlaces
  },
  closing: AsyncDisposableStack,
): Promise<Bastion> {
  const { auth, access, ca, vault, recorder, metrics } = product
  const log = product.log.child({ module: 'bastion' })
  const database = openDatabase({
    url: datastores.database.bastion,
    role: 'vaultterm_bastion',
    log,
    metrics,
    instance: serving.lease.instance,
  })
  closing.defer(() => database.close())
  await database.ping()
  const createSshKeys = () => Promise.reject(new Error('the bastion makes no keys'))
  const tenants = createTenants({ database, vault: { createSshKeys }, log })
  const bastion = await createBastion({
    tenants,
    auth,
    access,
    ca,
    vault,
    recorder,
    metrics: createBastionMetrics(metrics),
    limits: serving.config.limits,
    own: serving.own,
    workers: serving.config.workers,
    fork: serving.fork,
    settings: async () => ({
      hostKeys: await serving.hostKeys(),
      recordings: recordingsDirectory(datastores),
      recordedOutputBytes: serving.config.recordedOutputBytes,
      logLevel: log.level,
    }),
    node: serving.lease.node,
    lease: serving.lease,
    log,
  })
  closing.defer(() => bastion.close())
  return bastion
}

/** What must be well for this process to be sent people. */
function readiness({ database, coordination, vault, audit }: Product) {
  return {
    database: () => database.ping(),
    schema: async () => void (await requireSchema(database, migrations)),
    redis: () => coordination.ping(),
    audit: async () => audit.requireSound(),
    kek: async () => {
      const { sealed } = await vault.status()
      if (sealed) throw new VaultSealed()
    },
  }
}

/** The address is the one that it was given: with port 0, a free one is found. */
async function listenHttp(server: FastifyInstance, { host, port }: Listen): Promise<Listen> {
  await server.listen({ host, port })
  const address = server.server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return { host, port: address.port }
}

/** Where recordings are, whole. */
export function recordingsDirectory({ recordings }: Datastores): string {
  return resolve(recordings.replace(/^dir:/, ''))
}
