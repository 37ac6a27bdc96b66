import { createHash } from 'node:crypto'
import type { ShownText } from './event-types.ts'

/** A private text in its written form. */
export interface WrittenText {
  readonly text: string
  /** The size of the original. */
  readonly bytes: number
  /** SHA-256 of the original, in hex; only if the text is not exactly the original. */
  readonly sha256?: string
}

/** A list in its written form. */
export interface WrittenList {
  readonly items: string[]
  /** The number of items in the original. */
  readonly count: number
  /** SHA-256 of the original as JSON, in hex; only if the list is not exactly the original. */
  readonly sha256?: string
}

/** In UTF-16 code units. */
const textLengthMax = 4096
const listMax = 64
/** Marks the middle of a text that was left out. */
const gap = '…'

/**
 * A text that can be stored everywhere: text from outside must never make an append fail. A long
 * one keeps its beginning and its end, because either may hide a command. Characters that cannot be
 * stored (a lone surrogate, U+0000) show as a replacement character.
 */
export function cutText(text: string): string {
  const storable = text.toWellFormed().replaceAll('\0', '\ufffd')
  if (storable.length <= textLengthMax) return storable
  const tail = Math.floor((textLengthMax - gap.length) / 2)
  const head = textLengthMax - gap.length - tail
  // A cut may fall into the middle of a character.
  return `${storable.slice(0, head)}${gap}${storable.slice(-tail)}`.toWellFormed()
}

/**
 * Writes a private text. If it is not written exactly as it came, its digest identifies the
 * original.
 */
export function writeText(value: string | Buffer | ShownText): WrittenText {
  const { shown, whole } = shownOf(value)
  const text = cutText(shown)
  const isExact = Buffer.from(text, 'utf8').equals(whole)
  return { text, bytes: whole.length, ...(isExact ? {} : { sha256: digest(whole) }) }
}

/** Writes a list, each item by the function given. */
export function writeList(list: readonly string[], write: (text: string) => string): WrittenList {
  const items = list.slice(0, listMax).map(write)
  const isExact = list.length === items.length && items.every((item, at) => item === list[at])
  const sha256 = isExact ? {} : { sha256: digest(Buffer.from(JSON.stringify(list))) }
  return { items, count: list.length, ...sha256 }
}

function shownOf(value: string | Buffer | ShownText): ShownText {
  if (typeof value === 'string') return { shown: value, whole: Buffer.from(value, 'utf8') }
  return Buffer.isBuffer(value) ? { shown: value.toString('utf8'), whole: value } : value
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
