/** How a session ended, and what it was, in words. A code never stands alone. */

export interface SessionEnding {
  readonly live: boolean
  readonly reason: string | null
  readonly killReason: string | null
  readonly exitStatus: number | null
  readonly exitSignal: string | null
}

export interface Ending {
  /** The shape beside the word. */
  readonly shape: 'live' | 'good' | 'wait' | 'warn' | 'bad'
  readonly word: string
  /** What it means; undefined where the word says it. It may hold text from outside. */
  readonly note?: string
}

/** Statuses with a meaning of their own in the shells: POSIX, Shell Command Language, 2.8.2. */
const statuses: { readonly [status: number]: string } = {
  1: 'the command reports a failure',
  2: 'wrong usage, or a failure',
  126: 'the command cannot be run',
  127: 'there is no such command',
  130: 'ended by Ctrl C',
  137: 'killed on the target',
  143: 'told to stop on the target',
  255: 'a failure, often of a connection',
}

const reasons: { readonly [reason: string]: Ending } = {
  ended: { shape: 'good', word: 'closed' },
  'client-gone': { shape: 'warn', word: 'client gone', note: 'its connection broke or was closed' },
  'target-gone': { shape: 'bad', word: 'target gone', note: 'the connection to it broke' },
  killed: { shape: 'warn', word: 'ended early', note: 'its access was taken away' },
  interrupted: { shape: 'bad', word: 'cut off', note: 'the bastion stopped under it' },
  'recorder-failed': {
    shape: 'bad',
    word: 'not recorded',
    note: 'the recording could not be written, so it ended',
  },
  'not-started': { shape: 'bad', word: 'not started', note: 'the target was not reached' },
}

export function describeEnding(session: SessionEnding): Ending {
  const { live, reason, killReason, exitStatus, exitSignal } = session
  if (live) return { shape: 'live', word: 'live' }
  if (killReason !== null) return { shape: 'warn', word: 'ended early', note: killReason }
  if (exitStatus === 0) return { shape: 'good', word: 'exit 0' }
  if (exitStatus !== null) {
    const note = statuses[exitStatus] ?? 'the command reports a failure'
    return { shape: 'bad', word: `exit ${exitStatus}`, note }
  }
  if (exitSignal !== null) {
    return { shape: 'bad', word: `signal ${exitSignal}`, note: 'it ended on the target by it' }
  }
  if (reason === null) return { shape: 'wait', word: 'unknown', note: 'its end is not on record' }
  return Object.hasOwn(reasons, reason) && reasons[reason] !== undefined
    ? reasons[reason]
    : { shape: 'bad', word: 'failed', note: reason }
}

const kinds: { readonly [kind: string]: string } = {
  shell: 'shell',
  exec: 'command',
  sftp: 'SFTP',
  forward: 'forward',
  'remote-forward': 'remote forward',
  agent: 'agent',
  x11: 'X11',
  subsystem: 'subsystem',
}

export function describeKind(kind: string): string {
  return kinds[kind] ?? kind
}
