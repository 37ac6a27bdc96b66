/** The signals that ask this process to stop. */
export interface StopSignals {
  /** Resolves at the first signal: let live sessions end. */
  readonly first: Promise<NodeJS.Signals>
  /** Resolves at the second: stop at once. */
  readonly second: Promise<NodeJS.Signals>
  /** Throws StopRequested once the first has come, so that a start goes no further. */
  throwIfRequested(): void
  close(): void
}

/** A start was told to stop before it was done, which is not a failure. */
export class StopRequested extends Error {}

const signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP']
/** Under `npm start` one Ctrl-C comes twice, from the terminal and from npm. */
const echoMs = 200

export function listenForStop(): StopSignals {
  const first = Promise.withResolvers<NodeJS.Signals>()
  const second = Promise.withResolvers<NodeJS.Signals>()
  let firstAtMs: number | undefined
  const hear = (signal: NodeJS.Signals) => {
    const nowMs = performance.now()
    if (firstAtMs === undefined) {
      firstAtMs = nowMs
      first.resolve(signal)
    } else if (signal !== 'SIGINT' || nowMs - firstAtMs > echoMs) second.resolve(signal)
  }
  for (const signal of signals) process.on(signal, hear)
  return {
    first: first.promise,
    second: second.promise,
    throwIfRequested() {
      if (firstAtMs !== undefined) throw new StopRequested()
    },
    close() {
      for (const signal of signals) process.off(signal, hear)
    },
  }
}
