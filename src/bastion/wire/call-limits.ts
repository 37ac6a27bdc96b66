/**
 * The calls of one worker that may be under way. The worker holds further calls back until an answer
 * comes, so an honest worker never exceeds these numbers, whatever its clients and targets do. The main
 * process ends a worker that exceeds four times as many.
 */
export const callLimits = {
  /** Calls without an answer. */
  atOnce: 256,
  /** Of them, calls of more than `largeBytes`. */
  largeAtOnce: 16,
  largeBytes: 65_536,
  /** Of one user: one who is held back must leave some of them to others. */
  largeOfUser: 4,
  /** Of one user, calls that write to the log: the main process may hold each of them back for seconds. */
  pacedAtOnce: 16,
  /** Calls, and their bytes, between two pings of the main process. */
  perPing: 10_000,
  bytesPerPing: 64 * 1_048_576,
} as const
