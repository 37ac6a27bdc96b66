import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'

/** How to end a server: a signal, and how long to wait before the next, harsher one. */
export type StopStep = readonly [signal: NodeJS.Signals, waitMs: number]

const lastLinesMax = 20

export function isGone(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null
}

/**
 * Resolves when the process has ended and its output is read; also when it could not be started.
 */
export function goneFrom(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('close', () => resolve())
    child.once('error', () => {
      if (child.pid === undefined) resolve()
    })
  })
}

/** Takes the steps in order until the process is gone. */
export async function stopProcess(
  child: ChildProcess,
  exited: Promise<void>,
  steps: readonly StopStep[],
): Promise<void> {
  for (const [signal, waitMs] of steps) {
    if (isGone(child)) break
    child.kill(signal)
    const timeout = new AbortController()
    const waited = delay(waitMs, undefined, { signal: timeout.signal }).catch(() => undefined)
    await Promise.race([exited, waited])
    timeout.abort()
  }
  await exited
}

/** The last lines that a process wrote to stdout and stderr; the array grows with its output. */
export function followLines(
  child: ChildProcess,
  onLine?: (line: string) => void,
): readonly string[] {
  const last: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue
    createInterface({ input: stream }).on('line', (line) => {
      last.push(line)
      if (last.length > lastLinesMax) last.shift()
      onLine?.(line)
    })
  }
  return last
}
