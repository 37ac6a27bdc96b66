import { Socket } from 'node:net'
import { Registry } from 'prom-client'
import { createLog } from '../../log.ts'
import { createRecorder, openDirStore } from '../../recorder/index.ts'
import { adoptSocket, type Departure } from '../../ssh/index.ts'
import type { ConnectionId } from '../wire/calls.ts'
import { MessagePipe, mainFrameBytesMax, pipeDescriptors } from '../wire/message-pipe.ts'
import {
  type FromWorker,
  type Leave,
  metricsMax,
  type SocketTag,
  type ToWorker,
  type WorkerSettings,
} from '../wire/messages.ts'
import { createServiceMetrics } from '../wire/worker-metrics.ts'
import { LeaseWatch } from './lease-watch.ts'
import { Outbox } from './outbox.ts'
import { createService, type Service } from './service.ts'
import { FileBudget } from './sftp/file-budget.ts'
import { TargetNames } from './target-names.ts'
import { WorkerChannel } from './worker-channel.ts'

const drainPollMs = 100
const lastWordMs = 500

/**
 * The program of a worker: parses the bytes of strangers; the host keys are its only secret. It
 * asks the main process for every decision, and ends when the main process ends.
 */
export function runWorker(): void {
  if (process.send === undefined) throw new Error('a worker is started by vaultterm, not by hand')
  const pipe = new MessagePipe(
    {
      from: new Socket({ fd: pipeDescriptors.fromMain }),
      to: new Socket({ fd: pipeDescriptors.toMain }),
    },
    {
      // The worker trusts the main process, which has the secrets.
      received: (message) => received(message as ToWorker),
      failed: () => process.exit(1),
      ended: () => process.exit(1),
    },
    mainFrameBytesMax,
  )
  const outbox = new Outbox(pipe)
  const send = (message: FromWorker) => outbox.send(message)
  const channel = new WorkerChannel((frame, sent) => outbox.sendFrame(frame, sent))
  const registry = new Registry()
  let service: Service | undefined
  let ending = false
  const lease = new LeaseWatch({
    // A worker that cannot end its sessions must not go on with them.
    lapsed: () => {
      service?.lapse().catch(() => process.exit(1))
    },
    isLate: () => (service?.sessions ?? 0) > 0,
    stop: () => process.exit(1),
  })

  async function start(settings: WorkerSettings) {
    const { limits, hostKeys, recordings, logLevel, worker, recordedOutputBytes } = settings
    const log = createLog(logLevel).child({ module: 'bastion', worker })
    // An unknown error: the main process ends this worker's sessions, and starts another worker.
    process.on('uncaughtException', (err) => {
      log.fatal({ err }, 'unexpected error in a worker, ending it')
      setTimeout(() => process.exit(1), 50)
    })
    const recorder = createRecorder({
      store: await openDirStore(recordings),
      log,
      metrics: registry,
      recordedOutputBytes,
    })
    service = createService({
      broker: channel.broker,
      recorder,
      metrics: createServiceMetrics(registry),
      limits,
      hostKeys,
      // The system has the bytes by then, and the main process reads the pipe to its end.
      noteFiles: (...notes) => channel.noteFiles(...notes),
      jumpClosed: (connection) => closed(connection),
      recorded: (connection, session, point) =>
        send({ type: 'recorded', connection, session, point }),
      lease,
      names: new TargetNames(),
      fileBudget: new FileBudget(),
      log,
    })
    send({ type: 'ready' })
  }

  function closed(connection: ConnectionId): void {
    channel.forget(connection)
    send({ type: 'closed', connection })
  }

  /** Text that is too long for the main process is no figures. */
  async function figures(): Promise<string> {
    const metrics = JSON.stringify(await registry.getMetricsAsJSON())
    return metrics.length > metricsMax ? '' : metrics
  }

  /** The end of a worker has no waiter. A worker that cannot end cleanly still ends. */
  function inOrder(leaving: Promise<void>): void {
    leaving.catch((err: unknown) => {
      process.stderr.write(`vaultterm: a worker could not end cleanly: ${String(err)}\n`)
      process.exit(1)
    })
  }

  async function end(served: Service, reason: Leave): Promise<void> {
    if (ending) return
    ending = true
    // A restart cuts nobody off, also not between a login and its session. A stop admits no session.
    const isInUse = () => served.sessions > 0 || (reason === 'restart' && served.expectsSession)
    while (isInUse()) await wait(drainPollMs)
    await leave(served, reason)
  }

  /** Its last message has its metrics. */
  async function leave(served: Service, reason: Leave): Promise<void> {
    await served.close(reason)
    const metrics = await figures()
    setTimeout(() => process.exit(0), lastWordMs)
    outbox.send({ type: 'metrics', id: 0, metrics }, () => process.exit(0))
  }

  /** A connection, with its socket; without one when the client went on the way here. */
  process.on('message', ({ connection, source, cookie }: SocketTag, socket?: Socket) => {
    if (socket === undefined || service === undefined) return closed(connection)
    send({ type: 'taken', connection })
    const left = (how: Departure) => send({ type: 'left', connection, how })
    service.serve(adoptSocket(socket), connection, source, {
      left,
      closed: () => closed(connection),
      cookie: Buffer.from(cookie, 'hex'),
    })
  })

  function received(message: ToWorker): void {
    if (channel.received(message)) return
    switch (message.type) {
      case 'start':
        start(message.settings).catch((err: unknown) => {
          process.stderr.write(`vaultterm: a worker could not start: ${String(err)}\n`)
          process.exit(1)
        })
        return
      case 'evict':
        return service?.evict(message.connection)
      case 'ping':
        lease.renew(message.lease)
        return outbox.sendFirst({ type: 'pong', id: message.id })
      case 'kill':
        service?.kill(message.session, message.reason)
        return outbox.sendFirst({ type: 'cut', id: message.session })
      case 'endForward':
        service?.endForward(message.forward, message.reason)
        return outbox.sendFirst({ type: 'cut', id: message.forward })
      case 'metrics':
        figures().then(
          (metrics) => send({ type: 'metrics', id: message.id, metrics }),
          // The main process goes on with the figures that it had.
          () => {},
        )
        return
      case 'drain':
        if (service !== undefined) inOrder(end(service, message.leave))
        return
      case 'stop':
        if (service === undefined) process.exit(0)
        return inOrder(leave(service, message.leave))
    }
  }

  // The main process decides when to end: these are for it.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
    process.on(signal, () => {})
  }
  process.once('disconnect', () => process.exit(1))
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
