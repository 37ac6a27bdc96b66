/**
 * Coordination between nodes, of which anything may be lost at any time: Redis, or for one node a
 * stand-in inside the process.
 *
 * Nothing here decides anything. What is read back is checked as if a stranger had written it, and
 * an outage costs the view of other nodes, never a session.
 */

export { type Coordination, openCoordination } from './coordination.ts'
export { RedisUnavailable } from './errors.ts'
export type { LiveRegistry, LiveSession } from './live-session.ts'
