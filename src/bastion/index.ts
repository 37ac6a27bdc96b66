/**
 * The bastion: speaks SSH with users, and opens the targets that they may open.
 *
 * Its listener and its monitors are in the main process. Workers parse the bytes of strangers; the
 * host keys are their only secret. The monitor decides which user is on a connection and which
 * targets they may open, and makes every signature. It remembers its decisions and trusts no claim
 * of a worker. No byte of a target reaches a user before it is on record.
 */
export { type Bastion, type BastionDeps, createBastion } from './monitor/bastion.ts'
export type { ProtectedDestinations } from './monitor/forward-guard.ts'
export { createBastionMetrics } from './monitor/metrics.ts'
export { protectedDestinations } from './monitor/protected-destinations.ts'
export { type ForkWorker, workerThreads } from './monitor/worker-process.ts'
