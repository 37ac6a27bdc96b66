import type { Session } from '../access/index.ts'
import { type Html, html } from '../http/index.ts'

/** A time in UTC; the page turns it into the reader's own zone. */
export function formatTime(at: string): Html {
  return html`<time datetime="${at}">${at.slice(0, 19).replace('T', ' ')} UTC</time>`
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** Null: unknown. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return 'unknown'
  const power = bytes < 1024 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1)
  const value = bytes / 1024 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`
}

/** For a live session, the time so far. For an ended session without a known end, unknown. */
export function formatDuration({
  startedAt,
  endedAt,
  live,
}: Pick<Session, 'startedAt' | 'endedAt' | 'live'>): string {
  if (endedAt === null && !live) return 'unknown'
  const ms = (endedAt === null ? Date.now() : Date.parse(endedAt)) - Date.parse(startedAt)
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
}
