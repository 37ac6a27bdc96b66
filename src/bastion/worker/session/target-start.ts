import { type Channel, Writer } from '../../../ssh/index.ts'
import { TargetFailed, TargetRefused } from '../errors.ts'
import { encodePty, type Pty } from './pty.ts'

/** The start request for a target. */
export interface TargetStart {
  readonly kind: 'shell' | 'exec' | 'sftp'
  /** As the client sent it; only of an exec. */
  readonly command: Buffer | undefined
  readonly pty: Pty | undefined
  readonly environment: readonly (readonly [name: string, value: string])[]
}

/** How long a target may take for each step of a start. */
const stepMs = 20_000

/**
 * Has a target run it on a channel of ours. Throws TargetRefused when the target does not want to,
 * and TargetFailed when it takes too long or goes away.
 */
export async function startOnTarget(target: Channel, name: string, start: TargetStart) {
  for (const [variable, value] of start.environment) {
    // A target that has gone is noticed by the requests that follow.
    target.request('env', new Writer().text(variable).text(value).build(), false).catch(() => {})
  }
  if (start.pty !== undefined && !(await ask(target, 'pty-req', encodePty(start.pty)))) {
    throw refused(target, name, 'to open a terminal')
  }
  const { kind } = start
  if (!(await ask(target, ...requestOf(start)))) {
    throw refused(target, name, `to start ${kind === 'exec' ? 'the command' : kind}`)
  }
}

function ask(target: Channel, request: string, payload: Buffer): Promise<boolean> {
  return inTime(target.request(request, payload, true))
}

function requestOf({ kind, command }: TargetStart): [request: string, payload: Buffer] {
  if (kind === 'sftp') return ['subsystem', new Writer().text('sftp').build()]
  if (command === undefined) return ['shell', Buffer.alloc(0)]
  return ['exec', new Writer().string(command).build()]
}

/**
 * A missing reply is reported as a refusal; the channel knows whether the target is still
 * connected.
 */
function refused(target: Channel, name: string, what: string) {
  return target.closed
    ? new TargetFailed(`${name} broke off the connection when asked ${what}; its own log says why`)
    : new TargetRefused(`${name} refused ${what}`)
}

/** A target that does not answer must not hold a session in its start for ever. */
export async function inTime<T>(answer: Promise<T>, ms = stepMs): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(
    () =>
      late.reject(
        new TargetFailed('the target took too long to answer; try again, or check its load'),
      ),
    ms,
  )
  try {
    return await Promise.race([answer, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
