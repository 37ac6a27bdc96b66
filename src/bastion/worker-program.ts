import type { Socket } from 'node:net'
import { Registry } from 'prom-client'
import { createLog } from '../log.ts'
import { createRecorder, openDirStore } from '../recorder/index.ts'
import type { Departure } from '../ssh/index.ts'
import type { FromWorker, ToWorker, WorkerSettings } from './messages.ts'
import { createServiceMetrics } from './metrics.ts'
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
  const send = (message: FromWorker) => {
    if (process.connected) process.send?.(message, () => {})
  }
  const channel = new WorkerChannel(send)
  const registry = new Registry()
  let service: Service | undefined
  let ending = false

  async function start({ limits, hostKeys, recordings, logLevel, worker }: WorkerSettings) {
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
    })
    service = createService({
      broker: channel.broker,
      recorder,
      metrics: createServiceMetrics(registry),
      limits,
      hostKeys: hostKeys.map(hostKeyOf),
      jumpClosed: (connection) => send({ type: 'closed', connection }),
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
    if (!process.connected) process.exit(0)
    process.send?.({ type: 'metrics', id: 0, metrics } satisfies FromWorker, () => process.exit(0))
  }

  process.on('message', (message: ToWorker, socket?: Socket) => {
    if (channel.received(message)) return
    switch (message.type) {
      case 'start':
        start(message.settings).catch((err: unknown) => {
          process.stderr.write(`vaultterm: a worker could not start: ${String(err)}\n`)
          process.exit(1)
        })
        return
      case 'connection': {
        const { connection, source } = message
        const closed = () => send({ type: 'closed', connection })
        // The client may have gone on the way here.
        if (socket === undefined || service === undefined) return closed()
        const left = (how: Departure) => send({ type: 'left', connection, how })
        return service.serve(socket, connection, source, { left, closed })
      }
      case 'evict':
        return service?.evict(message.connection)
      case 'ping':
        return send({ type: 'pong', id: message.id })
      case 'kill':
        return service?.kill(message.session, message.reason)
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
  })
  // The main process decides when to end: these are for it.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'] as const) {
    process.on(signal, () => {})
  }
  process.once('disconnect', () => process.exit(1))
}

/** What crossed the channel is plain bytes again. */
function hostKeyOf(key: WorkerSettings['hostKeys'][number]): WorkerSettings['hostKeys'][number] {
  const { certificate, publicKey } = key
  return {
    ...key,
    publicKey: { ...publicKey, blob: Buffer.from(publicKey.blob) },
    ...(certificate === undefined ? {} : { certificate: Buffer.from(certificate) }),
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
