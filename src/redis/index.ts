/**
 * Coordination between nodes; its data may be lost at any time. It uses Redis, or, for one node, a
 * registry inside the process.
 *
 * No decision is made from this data. A value that is read back is checked like a stranger's input,
 * and an outage costs only the view of other nodes, never a session.
 */

export { type Coordination, openCoordination } from './coordination.ts'
export { RedisUnavailable } from './errors.ts'
export type { LiveRegistry, LiveSession } from './live-session.ts'
