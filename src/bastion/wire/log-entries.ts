import type { Call } from './calls.ts'

/** The entries that a call writes, where a client decides how often it is made. */
export function entriesOf(call: Call): number {
  switch (call.method) {
    case 'recordFiles':
      return call.args[2].length
    case 'openForward':
    case 'startSession':
      // Its end is an entry too.
      return 2
    default:
      return 0
  }
}
