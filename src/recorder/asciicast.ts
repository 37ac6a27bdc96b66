/**
 * asciicast v3 (docs/formats/recording.md): a header line, then one line an event.
 *
 * Pure: the clock is an argument, in whole microseconds.
 */

import { createHash } from 'node:crypto'

export interface Size {
  readonly cols: number
  readonly rows: number
}

/** The first line of a recording. */
export interface CastHeader {
  readonly version: 3
  readonly term: Size & { readonly type?: string }
  /** Seconds since 1970 at which the recording began. */
  readonly timestamp?: number
  readonly command?: string
  readonly title?: string
  readonly env?: { readonly [name: string]: string }
}

/**
 * Output, resize, marker, exit, and (ours) the exact bytes of an output that text cannot represent.
 */
export type EventCode = 'o' | 'r' | 'm' | 'x' | 'b'

/** An event as read back; code is one of ours, or another program's. */
export interface CastEvent {
  /** Seconds since the event before. */
  readonly interval: number
  readonly code: string
  readonly data: string
}

export interface Cast {
  readonly header: CastHeader
  readonly events: readonly CastEvent[]
}

/** The text is not a recording that we would have written. */
export class CastInvalid extends Error {}

const defaultSize: Size = { cols: 80, rows: 24 }
/** No terminal has one column, and the portal's player fails at a wide character in it. */
const colsMin = 2
const colsMax = 1000
const rowsMax = 500
/** Longest title, command, marker or variable: they are labels, not content. */
const labelMax = 4096

/** The size, limited to what a player can draw; a zero or absurd one means that it is unknown. */
export function clampSize(cols: number, rows: number, fallback: Size = defaultSize): Size {
  return {
    cols: cols >= 1 ? Math.min(Math.max(Math.floor(cols), colsMin), colsMax) : fallback.cols,
    rows: rows >= 1 ? Math.min(Math.floor(rows), rowsMax) : fallback.rows,
  }
}

/** The facts at the start of a recording; none of them is trusted. */
export interface CastFacts extends Size {
  readonly startedAtMs: number
  readonly term?: string
  readonly title?: string
  readonly command?: string
  readonly env?: { readonly [name: string]: string }
}

/** The header's line. */
export function formatHeader(facts: CastFacts): string {
  const env = Object.entries(facts.env ?? {}).filter(
    ([name]) => name === 'TERM' || name === 'SHELL',
  )
  const header: CastHeader = {
    version: 3,
    term: {
      ...clampSize(facts.cols, facts.rows),
      ...(facts.term === undefined ? {} : { type: label(facts.term) }),
    },
    timestamp: Math.floor(facts.startedAtMs / 1000),
    ...(facts.command === undefined ? {} : { command: label(facts.command) }),
    ...(facts.title === undefined ? {} : { title: label(facts.title) }),
    ...(env.length === 0
      ? {}
      : { env: Object.fromEntries(env.map(([name, value]) => [name, label(value)])) }),
  }
  return `${encode(header)}\n`
}

/**
 * Formats events as they happen.
 *
 * An interval counts from the time that the events before add up to, not from when they were
 * formatted, so rounding is carried along and the sum never drifts from the clock.
 */
export class EventFormat {
  readonly #nowUs: () => number
  #lastUs: number

  constructor(nowUs: () => number) {
    this.#nowUs = nowUs
    this.#lastUs = Math.floor(nowUs())
  }

  /** The event's line. At is now unless an event belongs to the instant of the one before. */
  line(code: EventCode, data: string, at: 'now' | 'same instant' = 'now'): string {
    // A clock that steps back makes an interval of zero, and the next one is shorter for it.
    const nowUs = at === 'now' ? Math.max(Math.floor(this.#nowUs()), this.#lastUs) : this.#lastUs
    const interval = formatInterval(nowUs - this.#lastUs)
    this.#lastUs = nowUs
    return `[${interval},"${code}",${encode(data)}]\n`
  }
}

/** Three decimals, as the asciinema program writes, and up to six where they are needed. */
function formatInterval(us: number): string {
  const seconds = Math.floor(us / 1_000_000)
  const fraction = String(us % 1_000_000).padStart(6, '0')
  return `${seconds}.${fraction.slice(0, 3)}${fraction.slice(3).replace(/0+$/, '')}`
}

/**
 * A label of moderate length. A longer one keeps its beginning and its end, with its size and
 * digest between them.
 */
export function label(text: string): string {
  if (text.length <= labelMax) return text
  const bytes = Buffer.from(text, 'utf8')
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const gap = `… [${bytes.length} bytes, SHA-256 ${sha256}] …`
  const half = Math.floor((labelMax - gap.length) / 2)
  return `${text.slice(0, half)}${gap}${text.slice(-half)}`
}

/**
 * JSON on one line, for every kind of line end that a reader may know. Lone surrogates are escaped.
 */
function encode(value: unknown): string {
  const json = JSON.stringify(value)
  return /[\u2028\u2029]/.test(json)
    ? json.replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
    : json
}

/** Reads a whole recording. Throws CastInvalid where it is not one, a torn last line included. */
export function parseCast(text: string): Cast {
  const lines = text.split('\n')
  if (lines.pop() !== '') throw new CastInvalid('the last line is torn')
  const [first, ...rest] = lines
  return {
    header: parseHeader(first ?? ''),
    events: rest.filter((line) => !line.startsWith('#')).map(parseEvent),
  }
}

/** Reads a header's line. */
export function parseHeader(line: string): CastHeader {
  const value = decode(line)
  if (!isRecord(value) || value.version !== 3) throw new CastInvalid('not an asciicast v3 header')
  const { term } = value
  if (!isRecord(term) || !isSize(term.cols, colsMax) || !isSize(term.rows, rowsMax)) {
    throw new CastInvalid('the header has no size')
  }
  return {
    version: 3,
    term: { cols: term.cols, rows: term.rows, ...texts(term, ['type']) },
    ...(typeof value.timestamp === 'number' ? { timestamp: value.timestamp } : {}),
    ...texts(value, ['command', 'title']),
  }
}

/** Reads an event's line. */
export function parseEvent(line: string): CastEvent {
  const value = decode(line)
  if (!Array.isArray(value) || value.length !== 3) throw new CastInvalid('not an event')
  const [interval, code, data]: unknown[] = value
  if (typeof interval !== 'number' || !(interval >= 0)) throw new CastInvalid('no interval')
  if (typeof code !== 'string' || typeof data !== 'string') throw new CastInvalid('no code or data')
  return { interval, code, data }
}

/** The exact bytes of the output: for each output its text, or the bytes noted right after it. */
export function outputBytes(events: readonly CastEvent[]): Buffer {
  return Buffer.concat(
    events.flatMap((event, index) => {
      if (event.code === 'b') return [Buffer.from(event.data, 'base64')]
      return event.code === 'o' && events[index + 1]?.code !== 'b' ? [Buffer.from(event.data)] : []
    }),
  )
}

function decode(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (err) {
    throw new CastInvalid('not a line of JSON', { cause: err })
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isSize(value: unknown, max: number): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= max
}

function texts<Name extends string>(
  value: Record<string, unknown>,
  names: readonly Name[],
): { [name in Name]?: string } {
  const found: { [name in Name]?: string } = {}
  for (const name of names) {
    const text = value[name]
    if (typeof text === 'string') found[name] = text
  }
  return found
}
