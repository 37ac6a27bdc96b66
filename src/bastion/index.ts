/**
 * The bastion: speaks SSH with people, and opens what they may open.
 *
 * Its listener and its monitors are in the main process; what strangers send is parsed in workers,
 * which hold host keys and no other secret. Who somebody is, what they may open and every signature
 * is for the monitor to say, which remembers it and takes no worker's word for it. No byte of a
 * target's reaches a person before it is on record.
 */
export { type Bastion, type BastionDeps, createBastion } from './monitor/bastion.ts'
export type { OwnPlaces } from './monitor/forward-guard.ts'
export { createBastionMetrics } from './monitor/metrics.ts'
export { ownPlaces } from './monitor/own-places.ts'
export type { ForkWorker } from './monitor/worker-process.ts'
export { workerThreads } from './wire/worker-threads.ts'
