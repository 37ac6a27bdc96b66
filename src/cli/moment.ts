import { InvalidArgumentError } from 'commander'

/** A time as people read it, in UTC: `2026-11-03 14:05:12`. */
export function readableTime(at: string | null | undefined): string {
  if (at === null || at === undefined || at === '') return '-'
  const date = new Date(at)
  return Number.isNaN(date.getTime()) ? at : date.toISOString().slice(0, 19).replace('T', ' ')
}

/** A duration as people read it: `3m 12s`. */
export function readableDuration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`
  const hours = Math.floor(seconds / 3600)
  if (hours < 48) return `${hours}h ${Math.floor((seconds % 3600) / 60)}m`
  return `${Math.floor(hours / 24)}d ${hours % 24}h`
}

/** A number of bytes, with a unit: `1.4 MiB`. Null: unknown. */
export function readableBytes(bytes: number | null): string {
  if (bytes === null) return 'unknown'
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let at = 0
  let value = bytes
  for (; value >= 1024 && at < units.length - 1; at++) value /= 1024
  return at === 0 ? `${value} B` : `${value.toFixed(1)} ${units[at]}`
}

const unitMs: { readonly [unit: string]: number } = {
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** Parses the span of an option, such as `30m` or `8h`, into milliseconds. */
export function parseSpan(text: string): number {
  const [, count, unit = ''] = /^(\d{1,5})([mhdw])$/.exec(text) ?? []
  if (count === undefined) throw new InvalidArgumentError('give a span of time: 30m, 8h, 30d')
  return Number(count) * (unitMs[unit] ?? 0)
}

/**
 * Parses the moment of an option, which must be in the future: a date (`2027-01-31`), a time with its
 * zone (RFC 3339), or a span from now on (`8h`, `90d`).
 */
export function parseMoment(text: string, now: Date = new Date()): Date {
  const span = /^(\d{1,5})([mhdw])$/.exec(text)
  const at =
    span === null
      ? parseDate(text)
      : new Date(now.getTime() + Number(span[1]) * (unitMs[span[2] ?? ''] ?? 0))
  if (at === undefined) {
    throw new InvalidArgumentError(
      'give a date (2027-01-31), a time with its zone (2027-01-31T18:00:00Z), or a span (8h, 90d)',
    )
  }
  if (at.getTime() <= now.getTime()) throw new InvalidArgumentError('this time is in the past')
  return at
}

/** A date alone means its end: a grant until Friday is good on Friday. */
function parseDate(text: string): Date | undefined {
  const parts =
    /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)([Zz]|[+-]\d{2}:\d{2}))?$/.exec(
      text,
    )
  if (parts === null) return undefined
  const [, year, month, day, time = '23:59:59', zone = 'Z'] = parts
  const at = new Date(`${year}-${month}-${day}T${time}${zone.toUpperCase()}`)
  if (Number.isNaN(at.getTime())) return undefined
  // Date takes the 31st of a month of 30 days for the 1st of the next.
  const calendar = new Date(`${year}-${month}-${day}T00:00:00Z`)
  return calendar.getUTCDate() === Number(day) ? at : undefined
}
