import type { App } from '../app.ts'
import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import { listenForStop, StopRequested, type StopSignals } from './stop.ts'

/** What a long-running command does from its start to its readiness. */
export type Start = (context: {
  /** What is deferred here runs at the end, last first, whatever that end is. */
  readonly closing: AsyncDisposableStack
  /** Call it between steps that take their time. */
  throwIfStopped(): void
}) => Promise<App>

/** A close that takes longer is stuck, and the process ends without it; its children end with it. */
const closeMs = 20_000

/**
 * Runs a server until it is told to stop: at the first signal it lets live sessions end, at the
 * second it does not. Resolves when nothing is left, with the exit status. Rejects with NodeLeaseLost when
 * another process has taken this one's place.
 */
export async function runUntilStopped(config: Config, log: Log, start: Start): Promise<number> {
  const stop = listenForStop()
  const closing = new AsyncDisposableStack()
  const die = (err: unknown) => {
    // Nobody knows what state this is: the children end with the process, and the next start mends.
    log.fatal({ err }, 'unexpected error, stopping')
    process.exit(1)
  }
  process.on('uncaughtException', die)
  try {
    let app: App | undefined
    // Node's own answer is to open a debugger, where it was not told otherwise when it was started.
    process.on('SIGUSR1', () => log.warn('SIGUSR1 is not for anything here'))
    // Heard from the first moment to the last: unheard, it would end the process.
    process.on('SIGUSR2', () => {
      app?.restartWorkers().catch((err: unknown) => log.error({ err }, 'workers were not replaced'))
    })
    app = await start({ closing, throwIfStopped: () => stop.throwIfRequested() })
    const end = await Promise.race([stop.first, app.lost])
    // Another process has taken its place: what is open here is already ended on record.
    if (typeof end !== 'string') throw end
    await drained(app, config, log, stop, end)
  } catch (err) {
    if (!(err instanceof StopRequested)) throw err
  } finally {
    const stuck = setTimeout(() => {
      log.error('stopping takes too long, leaving')
      process.exit(1)
    }, closeMs)
    await closing.disposeAsync()
    clearTimeout(stuck)
    stop.close()
    process.off('uncaughtException', die)
  }
  log.info('stopped')
  return 0
}

async function drained(
  app: App,
  config: Config,
  log: Log,
  stop: StopSignals,
  signal: NodeJS.Signals,
): Promise<void> {
  log.info({ signal, sessions: app.sessions }, 'draining')
  const inTime = await Promise.race([app.drain(config.drainMs), stop.second.then(() => false)])
  if (!inTime) log.warn({ sessions: app.sessions }, 'ending what is left')
}
