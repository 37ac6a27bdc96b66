import { uptime } from 'node:os'

/**
 * Milliseconds since this machine started, including the time that it slept. All processes of a
 * machine read the same clock, and it cannot be set. It has a resolution of 10 ms.
 */
export function bootClockMs(): number {
  return uptime() * 1000
}
