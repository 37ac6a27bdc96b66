import type { FastifyInstance } from 'fastify'
import { createAdmin } from './admin/index.ts'
import { sweepLogins, sweepLoginsDaily } from './auth/index.ts'
import {
  type Bastion,
  createBastion,
  createBastionMetrics,
  type ForkWorker,
  type ProtectedDestinations,
  protectedDestinations,
} from './bastion/index.ts'
import type { Config, Datastores, Listen } from './config.ts'
import type { Checks, StartLimits } from './http/index.ts'
import type { Working } from './jobs/index.ts'
import { explainListen, type Face } from './listener.ts'
import { mergeMetrics } from './metrics.ts'
import { createPortal } from './portal/index.ts'
import {
  type NodeLease,
  type NodeLeaseLost,
  openDatabase,
  requireSchema,
  requireUnchanged,
} from './postgres/index.ts'
import { migrations, type Product, recordingsDirectory } from './product.ts'
import type { Recorder } from './recorder/index.ts'
import type { ServerHostKey } from './ssh/index.ts'
import { createTenants } from './tenant/index.ts'
import { VaultSealed } from './vault/index.ts'

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
  /**
   * Accepts no new connections, and waits for live sessions to end. True when all ended within the
   * time.
   */
  drain(withinMs: number): Promise<boolean>
  /**
   * Replaces the processes that parse the bytes of strangers, one by one; no connection is refused
   * or cut off.
   */
  restartWorkers(): Promise<void>
  /** The first step of a stop, because whoever stops a process may kill it soon. */
  keepUnsigned(): void
  /** Ends the remaining sessions. The product stays open: it belongs to the caller. */
  close(): Promise<void>
}

/**
 * Starts to serve: opens the bastion and the pages. Resolves when all of them accept connections.
 * Sessions of lost processes are recovered meanwhile; the start does not wait for that.
 */
export async function startApp(options: {
  readonly config: Config
  readonly datastores: Datastores
  readonly product: Product
  /** Read again for each worker, because keys and certificates may be renewed. */
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
    const working = workOnJobs(product)
    closing.defer(() => working.stop(jobsStopMs))
    const listeners: Listen[] = []
    const own = () => protectedDestinations(config, datastores, listeners)
    const serving = { hostKeys, fork, lease, config, own }
    const bastion = await openBastion(datastores, product, serving, closing)
    lease.onLapse(() => bastion.leaseLapsed())
    const page = mergeMetrics(product.metrics, () => bastion.metrics())
    const checks = readiness(product, working)
    const publicUrl = config.publicUrl
    const starts = pageStarts(config)
    // The port is known when the listener has one.
    const ssh = () =>
      config.publicSsh ?? { host: undefined, port: listeners.at(-1)?.port ?? config.ssh.port }
    const portal = await createPortal({ ...product, starts, page, publicUrl, checks, ssh })
    closing.defer(() => portal.close())
    const admin = await createAdmin({ ...product, starts, publicUrl: undefined, checks })
    closing.defer(() => admin.close())
    // The SSH listener last: its messages may point to the pages.
    const ready = {
      portal: await listenAs('portal', config, (at) => listenHttp(portal, at)),
      admin: await listenAs('admin', config, (at) => listenHttp(admin, at)),
      ssh: await listenAs('ssh', config, (at) => bastion.listen(at)),
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
      async drain(withinMs) {
        const jobs = working.stop(Math.min(withinMs, jobsStopMs))
        const inTime = await bastion.drain(withinMs)
        await jobs
        return inTime
      },
      restartWorkers: () => bastion.restart(),
      keepUnsigned: () => audit.keepUnsigned(),
      close: () => close.disposeAsync(),
    }
  } catch (err) {
    await closing.disposeAsync()
    throw err
  }
}

/** The part that serves strangers looks tenants up as a role that can read no secret. */
async function openBastion(
  datastores: Datastores,
  product: Product,
  serving: {
    readonly hostKeys: () => Promise<readonly ServerHostKey[]>
    readonly fork: ForkWorker
    readonly lease: NodeLease
    readonly config: Config
    readonly own: () => ProtectedDestinations
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

/** How long running jobs may go on when the process stops; the others go back to the queue. */
const jobsStopMs = 10_000

/** Begins in the background: people log in also while the queue cannot be reached. */
function workOnJobs({ jobs }: Product): Working {
  return jobs.work({ jobs: [sweepLogins], schedules: [sweepLoginsDaily] })
}

/** How fast connections to pages may be opened. A proxy opens them for many people, and is exempt where it is named. */
function pageStarts({ pages, limits }: Config): StartLimits {
  return { ...pages, exempt: limits.penalties.exempt ?? [] }
}

/** The checks that must pass before people are sent to this process; without background work they can log in. */
function readiness({ database, coordination, vault, audit }: Product, working: Working): Checks {
  return {
    database: () => database.ping(),
    schema: async () => {
      await requireSchema(database, migrations)
      await requireUnchanged(database)
    },
    redis: () => coordination.ping(),
    audit: async () => audit.requireSound(),
    kek: async () => {
      const { sealed } = await vault.status()
      if (sealed) throw new VaultSealed()
    },
    jobs: { aside: () => working.requireUp() },
  }
}

/** Throws ListenFailed where the address was taken since the start looked at it. */
async function listenAs(
  face: Face,
  config: Config,
  open: (listen: Listen) => Promise<Listen>,
): Promise<Listen> {
  const listen = config[face]
  try {
    return await open(listen)
  } catch (err) {
    throw explainListen(err, face, listen)
  }
}

/** The actual address: with port 0, a free port was found. */
async function listenHttp(server: FastifyInstance, { host, port }: Listen): Promise<Listen> {
  await server.listen({ host, port })
  const address = server.server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return { host, port: address.port }
}
