import { uptime } from 'node:os'

/**
 * Milliseconds since this machine started, the time that it slept included: all processes of a machine
 * read the same clock, and nobody can set it. It has a resolution of 10 ms.
 */
export function bootClockMs(): number {
  return uptime() * 1000
}
