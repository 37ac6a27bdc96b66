import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../log.ts'
import type { OwnServer } from './own-server.ts'

/** A server that can be started again at its address. */
export type Restartable = Pick<OwnServer, 'exited' | 'start' | 'stop'>

/** Before the first start again; twice as long before each one after it: eight in the first minute. */
const pauseMs = 200
const pauseMaxMs = 30_000
/** After so long it is started again at once. */
const soundMs = 60_000

/** Starts a server again whenever it ends, until the answer is called, which stops it for good. */
export function keepRunning(name: string, server: Restartable, log: Log): () => Promise<void> {
  const stopping = new AbortController()
  const kept = keep(name, server, log, stopping.signal)
  return async () => {
    stopping.abort()
    await server.stop()
    await kept
  }
}

async function keep(
  name: string,
  server: Restartable,
  log: Log,
  stopping: AbortSignal,
): Promise<void> {
  for (let againInMs = 0; ; ) {
    const sinceMs = performance.now()
    await server.exited
    if (stopping.aborted) return
    const isSound = performance.now() - sinceMs > soundMs
    againInMs = isSound ? pauseMs : Math.min(Math.max(againInMs * 2, pauseMs), pauseMaxMs)
    log.error({ againInMs }, `the embedded ${name} does not run any more: it is started again`)
    await sleep(againInMs, undefined, { signal: stopping }).catch(() => undefined)
    try {
      if (!stopping.aborted) await server.start()
      if (!stopping.aborted) log.warn(`the embedded ${name} runs again`)
    } catch (err) {
      if (stopping.aborted) return
      log.error({ err }, `the embedded ${name} does not start: ${remedy}`)
    }
  }
}

const remedy =
  'find the cause in the error (a full disk, its files, its memory) and mend it; `up` goes on trying, and need not ' +
  'be started again'
