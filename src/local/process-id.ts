import { readFileSync } from 'node:fs'
import { errorCode } from '../errors.ts'

/** Identifies one process: ids are used again, so the start time is part of it. */
export interface ProcessId {
  readonly pid: number
  /** In ticks since boot, with the boot; '' where the system does not tell. */
  readonly start: string
}

/** The id of this process. */
export function ownProcessId(): ProcessId {
  return { pid: process.pid, start: startOf(process.pid) }
}

/** Whether that very process is still there. */
export function isAlive({ pid, start }: ProcessId): boolean {
  try {
    process.kill(pid, 0)
  } catch (err) {
    // It belongs to another user, and it exists.
    if (errorCode(err) !== 'EPERM') return false
  }
  return startOf(pid) === start
}

function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name, in parentheses, may hold anything: the fields are counted from its end.
    const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state === 'Z') return 'ended'
    return `${rest[18]}@${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}`
  } catch {
    return ''
  }
}
