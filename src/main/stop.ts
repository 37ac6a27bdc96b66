/** Who asked this process to stop, and how urgently. */
export interface StopSignals {
  /** Resolves at the first signal: finish what is under way. */
  readonly first: Promise<NodeJS.Signals>
  /** Resolves at the second: stop at once. */
  readonly second: Promise<NodeJS.Signals>
  /** Throws StopRequested once the first has come: a start goes no further. */
  throwIfRequested(): void
  close(): void
}

/** A start was asked to stop before it was done: no failure, and nothing to say. */
export class StopRequested extends Error {}

const signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP']
/** A Ctrl-C comes from the terminal and, under `npm start`, once more from npm: that is one. */
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
