/**
 * Times and sizes as a person reads them, in the person's own zone. A zone may be given for tests.
 */

/** Such as Europe/Zurich. */
export function zoneName(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone
}

/** "today 14:32", "yesterday 23:10", "Fri 27 Nov, 16:48", "20 Nov, 09:12", "20 Nov 2025, 09:12". */
export function formatMoment(at: Date, now = new Date(), timeZone?: string): string {
  const write = (when: Date, options: Intl.DateTimeFormatOptions) =>
    new Intl.DateTimeFormat('en-GB', { ...options, ...(timeZone && { timeZone }) }).format(when)
  const clock = write(at, { hour: '2-digit', minute: '2-digit' })
  const dayOf = (when: Date) => write(when, { dateStyle: 'short' })
  const before = (days: number) => new Date(now.getTime() - days * 86_400_000)
  if (dayOf(at) === dayOf(now)) return `today ${clock}`
  if (dayOf(at) === dayOf(before(1))) return `yesterday ${clock}`
  const day = { day: 'numeric', month: 'short' } as const
  const isOtherYear = write(at, { year: 'numeric' }) !== write(now, { year: 'numeric' })
  if (isOtherYear) return `${write(at, { ...day, year: 'numeric' })}, ${clock}`
  const isRecent = at > before(7) && at <= now
  const weekday = isRecent ? `${write(at, { weekday: 'short' })} ` : ''
  return `${weekday}${write(at, day)}, ${clock}`
}

/** "2026-11-29 13:29:04 UTC" */
export function formatUtc(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** "2 s", "3 min 9 s", "8 h 0 min" */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** "10:01", "1:02:03" */
export function formatClock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const two = (value: number) => String(value).padStart(2, '0')
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60]
  return hours > 0
    ? `${hours}:${two(minutes)}:${two(seconds % 60)}`
    : `${minutes}:${two(seconds % 60)}`
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** "84 KiB", "3.4 GiB" */
export function formatBytes(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1)
  const value = bytes / 1024 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`
}
