import { randomUUID } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import type { Access } from '../../access/index.ts'
import { LogPace } from '../../audit/index.ts'
import { bootClockMs } from '../../boot-clock.ts'
import type { Ca } from '../../ca/index.ts'
import type { BastionLimits, Listen, WorkerLimits } from '../../config.ts'
import { Headcount } from '../../headcount.ts'
import type { Figures } from '../../metrics.ts'
import { Turns } from '../../turns.ts'
import type { ConnectionId } from '../wire/calls.ts'
import type { LeaseTimes } from '../wire/lease-times.ts'
import type { WorkerSettings } from '../wire/messages.ts'
import { Admission, type Admitted } from './admission.ts'
import { ForwardGuard, type ProtectedDestinations } from './forward-guard.ts'
import { JumpCertificates } from './jump-certificates.ts'
import type { Turned } from './metrics.ts'
import type { MonitorDeps } from './monitor.ts'
import { Penalties } from './penalties.ts'
import { WorkerPool } from './worker-pool.ts'
import type { ForkWorker } from './worker-process.ts'

export interface BastionDeps
  extends Omit<
    MonitorDeps,
    | 'loginGraceMs'
    | 'penalties'
    | 'loggedIn'
    | 'worker'
    | 'turns'
    | 'callTurns'
    | 'endTurns'
    | 'logPace'
    | 'authTriesMax'
    | 'connectionsOf'
    | 'sessionsOf'
    | 'access'
    | 'jumpCertificates'
    | 'hostKeys'
    | 'guard'
    | 'forwardsMax'
  > {
  readonly access: MonitorDeps['access'] & Pick<Access, 'onKill'>
  readonly ca: Pick<Ca, 'issueHost'>
  readonly limits: BastionLimits
  /** The ports and directories that no forward may reach; asked for at each forward. */
  readonly own: () => ProtectedDestinations
  readonly workers: WorkerLimits
  readonly fork: ForkWorker
  /** Read again for each worker. */
  readonly settings: () => Promise<Omit<WorkerSettings, 'worker' | 'limits'>>
  /** Until when this node may serve now; undefined where it serves without a lease. */
  readonly lease?: LeaseTimes | undefined
}

/** The SSH face: its listener and its limits are here, and strangers' bytes are the workers'. */
export interface Bastion {
  /** Starts to accept; the answer is where it really listens. */
  listen(listen: Listen): Promise<Listen>
  /** Live sessions now. */
  readonly sessions: number
  /** The metrics that the workers counted. */
  metrics(): Promise<readonly Figures[]>
  /** Replaces the workers one by one; no connection is refused meanwhile. */
  restart(): Promise<void>
  /**
   * Accepts no new connections, and waits for live sessions to end. True when all ended within the
   * time.
   */
  drain(withinMs: number): Promise<boolean>
  /** The lease of this node has run out: ends every session before another node may take its place. */
  leaseLapsed(): void
  /** Ends the remaining sessions, each with a message to its user. */
  close(): Promise<void>
}

const drainPollMs = 100
/** Logins that are looked up at the same time: six of one tenant, and two for others. */
const loginsMax = 8

/**
 * Calls that are answered at the same time: eleven of one tenant, and five for others. A worker holds the
 * others back, so that none waits for the database for longer than that allows.
 */
const callsMax = 16
/** Writes about what has ended without its worker: three of one tenant, and one for others. */
const endsMax = 4

export async function createBastion(deps: BastionDeps): Promise<Bastion> {
  const { limits, metrics, log } = deps
  const admission = new Admission(limits)
  const penalties = new Penalties(limits.penalties, undefined, deps.workers.workers)
  let shown: ReturnType<typeof deps.settings> | undefined
  const server = createServer({ pauseOnConnect: true, noDelay: true, keepAlive: true })
  const pool = await WorkerPool.start({
    fork: deps.fork,
    settings: async () => ({ ...(await deps.settings()), limits }),
    limits: deps.workers,
    lease: () => deps.lease && leaseTimesOf(deps.lease),
    deps: {
      ...deps,
      jumpCertificates: new JumpCertificates(deps.ca, log),
      hostKeys: async () => {
        shown ??= deps.settings()
        try {
          return (await shown).hostKeys
        } catch (err) {
          // A host key that could not be read once may be readable the next time.
          shown = undefined
          throw err
        }
      },
      guard: new ForwardGuard(deps.own),
      loginGraceMs: limits.loginGraceMs,
      penalties,
      turns: new Turns(loginsMax),
      callTurns: new Turns(callsMax),
      endTurns: new Turns(endsMax),
      logPace: new LogPace(),
      authTriesMax: limits.authTriesMax,
      // Its own bound: the worker's limit is for messages, and this one for a worker that does not keep it.
      forwardsMax: limits.forwardsPerConnectionMax + limits.listenersPerConnectionMax,
      connectionsOf: new Headcount(limits.connectionsPerUserMax),
      sessionsOf: new Headcount(limits.sessionsPerUserMax),
    },
    log,
  })
  let draining = false

  server.on('connection', (socket) => accept(socket))
  // A listener's own errors (too many open files) must not end the process.
  server.on('error', (err) => log.error({ err }, 'listener error'))

  const stopListeningForKills = await deps.access.onKill({
    session: (session, reason) => pool.killSession(session, reason),
    forward: (forward, reason) => pool.endForward(forward, reason),
  })

  function admit(source: string, id: ConnectionId): Admitted | Turned {
    if (draining) return 'draining'
    if (penalties.isHeld(source)) return 'penalty'
    return admission.admit(source, () => pool.evict(id))
  }

  function accept(socket: Socket): void {
    const source = socket.remoteAddress ?? 'unknown'
    // Until a worker has it, an error here would be uncaught.
    socket.on('error', () => socket.destroy())
    const id = randomUUID() as ConnectionId
    const admitted = admit(source, id)
    if (typeof admitted === 'string') {
      metrics.turnedAway.inc({ reason: admitted })
      // OpenSSH sends this line before its identification; clients show it with -v.
      if (admitted === 'penalty') socket.write('Not allowed at this time\r\n')
      socket.destroySoon()
    } else if (!pool.serve({ id, socket, source, admitted, acceptedAtMs: performance.now() })) {
      metrics.turnedAway.inc({ reason: 'draining' })
      admitted.release()
      socket.destroy()
    }
  }

  return {
    listen: (listen) => listenOn(server, listen),
    get sessions() {
      return pool.sessions
    },
    metrics: () => pool.metrics(),
    restart() {
      shown = undefined
      return pool.restart()
    },
    async drain(withinMs) {
      draining = true
      server.close()
      const deadline = performance.now() + withinMs
      while (pool.sessions > 0 && performance.now() < deadline) await wait(drainPollMs)
      return pool.sessions === 0
    },
    leaseLapsed() {
      pool.leaseLapsed((deps.lease?.stopAtMs ?? 0) - bootClockMs())
    },
    async close() {
      draining = true
      server.close()
      await stopListeningForKills()
      await pool.close()
    },
  }
}

/** As they are now: the lease's own move on. */
function leaseTimesOf({ serveUntilMs, stopAtMs }: LeaseTimes): LeaseTimes {
  return { serveUntilMs, stopAtMs }
}

function listenOn(server: Server, { host, port }: Listen): Promise<Listen> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 512 }, () => {
      server.off('error', reject)
      const address = server.address()
      if (address === null || typeof address === 'string') return reject(new Error('no address'))
      resolve({ host, port: address.port })
    })
  })
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
