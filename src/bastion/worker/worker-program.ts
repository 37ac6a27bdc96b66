import { Socket } from 'node:net'
import { Registry } from 'prom-client'
import { createLog } from '../../log.ts'
import { createRecorder, openDirStore } from '../../recorder/index.ts'
import { adoptSocket, type Departure } from '../../ssh/index.ts'
import { fileNotes } from '../wire/calls.ts'
import { CallRefused } from '../wire/errors.ts'
import { MessagePipe, pipeDescriptor } from '../wire/message-pipe.ts'
import type { FromWorker, SocketTag, ToWorker, WorkerSettings } from '../wire/messages.ts'
import { createServiceMetrics } from '../wire/worker-metrics.ts'
import { LeaseWatch } from './lease-watch.ts'
import { createService, type Service } from './service.ts'
import { WorkerChannel } from './worker-channel.ts'

const drainPollMs = 100
const lastWordMs = 500

/**
 * The program of a worker: parses what strangers send, and holds no secret but the host keys. It asks
 * the main process for everything, and ends when that does.
 */
export function runWorker(): void {
  if (process.send === undefined) throw new Error('a worker is started by vaultterm, not by hand')
  const pipe = new MessagePipe(new Socket({ fd: pipeDescriptor }), {
    // The main process is believed: it is the one that holds the secrets.
    received: (message) => received(message as ToWorker),
    failed: () => process.exit(1),
    ended: () => process.exit(1),
  })
  const send = (message: FromWorker) => pipe.send(message)
  const channel = new WorkerChannel(send)
  const registry = new Registry()
  let service: Service | undefined
  let ending = false
  const lease = new LeaseWatch({
    lapsed: () => void service?.lapse(),
    isLate: () => (service?.sessions ?? 0) > 0,
    stop: () => process.exit(1),
  })

  async function start(settings: WorkerSettings) {
    const { limits, hostKeys, recordings, logLevel, worker, recordedOutputBytes } = settings
    const log = createLog(logLevel).child({ module: 'bastion', worker })
    // What this is, nobody knows: the main process ends what it leaves, and starts another.
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
      noteFiles: (connection, session, notes) =>
        new Promise((sent, refuse) => {
          if (!fileNotes.safeParse(notes).success) return refuse(new CallRefused())
          pipe.send({ type: 'files', connection, session, notes } satisfies FromWorker, sent)
        }),
      jumpClosed: (connection) => send({ type: 'closed', connection }),
      recorded: (connection, session, point) =>
        send({ type: 'recorded', connection, session, point }),
      lease,
      log,
    })
    send({ type: 'ready' })
  }

  async function end(served: Service): Promise<void> {
    if (ending) return
    ending = true
    while (served.sessions > 0) await wait(drainPollMs)
    await leave(served)
  }

  /** Its last word is what it counted. */
  async function leave(served: Service): Promise<void> {
    await served.close()
    const metrics = JSON.stringify(await registry.getMetricsAsJSON())
    setTimeout(() => process.exit(0), lastWordMs)
    pipe.send({ type: 'metrics', id: 0, metrics } satisfies FromWorker, () => process.exit(0))
  }

  /** A connection, with its socket; without one when the client went on the way here. */
  process.on('message', ({ connection, source }: SocketTag, socket?: Socket) => {
    const closed = () => send({ type: 'closed', connection })
    if (socket === undefined || service === undefined) return closed()
    send({ type: 'taken', connection })
    const left = (how: Departure) => send({ type: 'left', connection, how })
    service.serve(adoptSocket(socket), connection, source, { left, closed })
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
        return send({ type: 'pong', id: message.id })
      case 'kill':
        return service?.kill(message.session, message.reason)
      case 'endForward':
        return service?.endForward(message.forward, message.reason)
      case 'metrics':
        registry.getMetricsAsJSON().then(
          (metrics) => send({ type: 'metrics', id: message.id, metrics: JSON.stringify(metrics) }),
          () => {},
        )
        return
      case 'drain':
        if (service !== undefined) void end(service)
        return
      case 'stop':
        if (service === undefined) process.exit(0)
        return void leave(service)
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
