import type { App } from '../app.ts'
import type { Config } from '../config.ts'
import { CodedError } from '../errors.ts'
import type { Log } from '../log.ts'
import { listenForStop, StopRequested, type StopSignals } from './stop.ts'

/** The work of a long-running command from its start until it is ready. */
export type Start = (context: {
  /** Deferred calls run at every kind of end, last first. */
  readonly closing: AsyncDisposableStack
  /** Throws when the process was told to stop. Call it between slow steps. */
  throwIfStopped(): void
}) => Promise<App>

/** A close that takes longer is stuck: the process ends without it, and its children end with it. */
const closeMs = 20_000

/**
 * Runs a server until it is told to stop. The first signal lets live sessions end, the second ends
 * them. Resolves with the exit status when all is closed. Rejects with NodeLeaseLost when another
 * process has taken this one's lease.
 */
export async function runUntilStopped(
  {
    config,
    log,
    tell,
  }: {
    readonly config: Config
    readonly log: Log
    /** Shows a line to the person at the terminal. */
    readonly tell: (line: string) => void
  },
  start: Start,
): Promise<number> {
  const stop = listenForStop()
  const closing = new AsyncDisposableStack()
  const report = (err: unknown) => log.fatal({ err }, 'unexpected error, stopping')
  const die = (err: unknown) => {
    // The state is unknown: the children end with the process, and the next start recovers.
    report(err)
    process.exit(1)
  }
  process.on('uncaughtException', die)
  let app: App | undefined
  try {
    // By default Node opens a debugger.
    process.on('SIGUSR1', () => log.warn('SIGUSR1 has no meaning here'))
    // Without a listener, the signal would end the process.
    process.on('SIGUSR2', () => {
      app
        ?.restartWorkers()
        .catch((err: unknown) => log.error({ err }, 'workers could not be replaced'))
    })
    const started = start({ closing, throwIfStopped: () => stop.throwIfRequested() })
    // A step may wait for long: for a database that says nothing, or for another node's migration.
    app = await Promise.race([started, stop.second.then(() => Promise.reject(new StopRequested()))])
    const end = await Promise.race([stop.first, app.lost])
    app.keepUnsigned()
    // Another process has taken its lease: open sessions are already ended on record.
    if (typeof end !== 'string') throw end
    tell(stopLine(app.sessions, config.drainMs))
    await drained(app, config, log, stop, end)
  } catch (err) {
    if (!(err instanceof StopRequested)) {
      // Its cause may be gone at the next start, with more of the log.
      if (!(err instanceof CodedError)) report(err)
      throw err
    }
  } finally {
    const stuck = setTimeout(() => {
      log.error('stopping takes too long: the process ends now')
      process.exit(1)
    }, closeMs)
    // What closes first may wait for a database that says nothing.
    app?.keepUnsigned()
    await closing.disposeAsync()
    clearTimeout(stuck)
    stop.close()
    process.off('uncaughtException', die)
  }
  log.info('stopped')
  return 0
}

/** The stop in words: how long it may take, and how to end it sooner. */
export function stopLine(sessions: number, drainMs: number): string {
  if (sessions === 0) return 'stopping'
  const [live, them] =
    sessions === 1 ? ['1 session has', 'it'] : [`${sessions} sessions have`, 'them']
  return `stopping: ${live} ${drainMs / 1000} s to end; Ctrl-C again ends ${them} now`
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
  if (!inTime) log.warn({ sessions: app.sessions }, 'ending the remaining sessions')
}
