/**
 * The bastion: speaks SSH with people, and opens what they may open.
 *
 * It holds host keys and no other secret. Who somebody is, what they may open and every signature
 * come from the modules below, over calls that carry plain data. No byte of a target's reaches a
 * person before it is on record.
 */
export { type Bastion, createBastion } from './bastion.ts'
export type { BastionDeps } from './deps.ts'
export { createBastionMetrics } from './metrics.ts'
