import type { QueueOptions } from 'pg-boss'

/** `quick`: mail, webhooks, clean-up. `slow`: what takes minutes, as rotation and backup. */
export type Lane = 'quick' | 'slow'

interface LaneSettings {
  /** Jobs that a node runs at a time. */
  readonly atOnce: number
  /** The same of one tenant: what blocks its jobs leaves runners for the others. */
  readonly atOncePerTenant: number
  readonly queue: QueueOptions
}

const day = 24 * 3600
const common = {
  retryBackoff: true,
  retryDelayMax: 3600,
  // A node that does not answer for this time has lost its job.
  heartbeatSeconds: 10,
  retentionSeconds: 14 * day,
  deleteAfterSeconds: 7 * day,
  // A full queue of notifications would make the act fail: queue.ts notifies where there is room.
  notify: false,
} as const

/** Bounded tries, and a longest time for each. */
export const lanes: { readonly [L in Lane]: LaneSettings } = {
  quick: {
    atOnce: 4,
    atOncePerTenant: 2,
    queue: { ...common, retryLimit: 8, retryDelay: 5, expireInSeconds: 900 },
  },
  slow: {
    atOnce: 2,
    atOncePerTenant: 1,
    queue: { ...common, retryLimit: 5, retryDelay: 30, expireInSeconds: 6 * 3600 },
  },
}

export const laneNames = ['quick', 'slow'] as const satisfies readonly Lane[]

/** Jobs of one tenant and kind that wait. */
export const waitingMax = 1000
/** Of the input, as JSON. */
export const inputBytesMax = 1024

export function isLane(name: string): name is Lane {
  return laneNames.some((lane) => lane === name)
}
