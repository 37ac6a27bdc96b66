import type { ChoicePage, ChoiceQuery } from '../../wire/calls.ts'
import { printable } from '../refusal.ts'
import type { Picker, ScreenSize, Verdict } from './picker.ts'

/** A target that may be chosen. */
export type Choice = ChoicePage['choices'][number]

/** The choices that contain a text, as far as they are loaded. */
interface Listing {
  readonly search: string
  readonly choices: readonly Choice[]
  /** undefined: all of them are loaded. */
  readonly next: string | undefined
  readonly total: number
}

const escapeKey = 0x1b
const filterMax = 32
type Key = 'up' | 'down' | 'pageUp' | 'pageDown' | 'home' | 'end'

/** Sequences of keys, by the characters after ESC [ or ESC O. */
const keys: { readonly [sequence: string]: Key } = {
  A: 'up',
  B: 'down',
  H: 'home',
  F: 'end',
  '1~': 'home',
  '4~': 'end',
  '7~': 'home',
  '8~': 'end',
  '5~': 'pageUp',
  '6~': 'pageDown',
}

/**
 * A full-screen list to choose a target from: type to search, arrows to move, Enter to open. It loads the
 * list in pages. Where all of a list is loaded, it searches by itself.
 */
export class Menu implements Picker {
  readonly enter = '\x1b[?1049h\x1b[?25l'
  readonly leave = '\x1b[?25h\x1b[?1049l'
  readonly #title: string
  readonly #now: () => number
  #size: ScreenSize
  /** The list without a search, and the one of the last search that was loaded. */
  #whole: Listing
  #found: Listing | undefined
  #filter = ''
  #selected = 0
  #top = 0
  /** The first bytes of a key whose other bytes are still to come. */
  #pending: Buffer = Buffer.alloc(0)

  constructor(
    title: string,
    first: ChoicePage,
    size: ScreenSize,
    now: () => number = () => Date.now(),
  ) {
    this.#title = printable(title)
    this.#whole = listingOf('', first)
    this.#size = size
    this.#now = now
  }

  get isEscapePending(): boolean {
    return this.#pending.length === 1
  }

  wants(): ChoiceQuery | undefined {
    const listing = this.#current()
    if (listing === undefined) return { search: this.#filter, after: '' }
    const { search, next, choices } = listing
    const isNearEnd = this.#selected + 2 * (this.#size.rows || 24) >= choices.length
    return next === undefined || !isNearEnd ? undefined : { search, after: next }
  }

  take({ search, after }: ChoiceQuery, page: ChoicePage): void {
    const isWhole = search === ''
    const before = isWhole ? this.#whole : this.#found
    if (after !== '' && (before?.search !== search || before.next !== after)) return
    const isMore = after !== '' && before !== undefined
    const listing = isMore ? extended(before, page) : listingOf(search, page)
    if (isWhole) this.#whole = listing
    else this.#found = listing
    this.#move(0)
  }

  resize(size: ScreenSize): void {
    this.#size = size
  }

  input(chunk: Buffer): Verdict {
    const bytes = Buffer.concat([this.#pending, chunk])
    this.#pending = Buffer.alloc(0)
    let bell = false
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0
      if (byte === escapeKey) {
        const length = keyLength(bytes.subarray(at))
        if (length === undefined) {
          this.#pending = Buffer.from(bytes.subarray(at))
          break
        }
        const key = keys[bytes.toString('latin1', at + 2, at + length)]
        if (key !== undefined && !this.#press(key)) return { wait: Buffer.from(bytes.subarray(at)) }
        at += length - 1
      } else if (byte === 0x0d || byte === 0x0a) {
        if (this.#current() === undefined) return { wait: Buffer.from(bytes.subarray(at)) }
        const choice = this.#shown()[this.#selected]
        if (choice !== undefined) {
          return { open: choice.name, rest: Buffer.from(bytes.subarray(at + 1)) }
        }
        bell = true
      } else if (byte === 0x03 || byte === 0x04) return { leave: true }
      else if (byte === 0x0e || byte === 0x09) {
        if (!this.#press('down')) return { wait: Buffer.from(bytes.subarray(at)) }
      } else bell = !this.#typed(byte) || bell
    }
    return { bell }
  }

  /** No byte followed an ESC: it clears the filter, or leaves. */
  escape(): Verdict {
    this.#pending = Buffer.alloc(0)
    if (this.#filter === '') return { leave: true }
    this.#filterBy('')
    return { bell: false }
  }

  /** The whole screen. */
  render(): string {
    const cols = Math.max(this.#size.cols || 80, 10)
    const rows = Math.max(this.#size.rows || 24, 2)
    const shown = this.#shown()
    const spare = rows >= 8
    const height = Math.max(rows - (spare ? 5 : 1), 1)
    this.#scroll(height)
    const lines: string[] = []
    if (spare) lines.push(`\x1b[1m${clip(` ${this.#title}`, cols)}\x1b[0m`, '')
    lines.push(clip(` > ${this.#filter}_`, cols))
    for (const [at, { name, lastAt }] of shown.slice(this.#top, this.#top + height).entries()) {
      const ago = lastAt === undefined ? '' : since(this.#now() - Date.parse(lastAt))
      const text = clip(`   ${printable(name).padEnd(Math.max(cols - 18, 1))} ${ago}`, cols - 1)
      lines.push(
        this.#top + at === this.#selected ? `\x1b[7m${text.padEnd(cols - 1)}\x1b[0m` : text,
      )
    }
    if (shown.length === 0)
      lines.push(clip('   no target has that in its name; Esc clears the search', cols))
    while (lines.length < rows - 1) lines.push('')
    if (spare) {
      const count = `${shown.length === 0 ? 0 : this.#selected + 1}/${this.#count(shown)}`
      const help = ' Enter opens  type to search  arrows move  Esc leaves'
      const wide = `${help.padEnd(Math.max(cols - count.length - 2, 0))}${count}`
      lines.push(
        `\x1b[2m${clip(help.length + count.length + 2 > cols ? ` ${count}` : wide, cols - 1)}\x1b[0m`,
      )
    }
    return `\x1b[H${lines.slice(0, rows).join('\x1b[K\r\n')}\x1b[K\x1b[J`
  }

  /** The listing that has every choice of the filter, or the loaded part of this search. */
  #current(): Listing | undefined {
    return [this.#whole, this.#found].find(
      (listing) =>
        listing?.search === this.#filter ||
        (listing?.next === undefined && this.#filter.includes(listing?.search ?? '\n')),
    )
  }

  /** Until its own listing is loaded, the filter shows the matching part of the loaded choices. */
  #shown(): readonly Choice[] {
    const filter = this.#filter
    const { search, choices } = this.#current() ?? this.#whole
    if (search === filter) return choices
    const starting = choices.filter(({ name }) => name.startsWith(filter))
    const others = choices.filter(({ name }) => !name.startsWith(filter) && name.includes(filter))
    return [...starting, ...others]
  }

  #count(shown: readonly Choice[]): number {
    const listing = this.#current()
    const isPart = listing?.search === this.#filter && listing.next !== undefined
    return isPart ? listing.total : shown.length
  }

  /** False when the byte has no meaning here. */
  #typed(byte: number): boolean {
    if (byte === 0x7f || byte === 0x08) this.#filterBy(this.#filter.slice(0, -1))
    else if (byte === 0x15 || byte === 0x17) this.#filterBy('')
    else if (byte === 0x10) this.#move(-1)
    // No name has a slash: where `/` begins a search, it need not.
    else if (byte === 0x2f) this.#filterBy('')
    else if (byte > 0x20 && byte < 0x7f && this.#filter.length < filterMax) {
      this.#filterBy(this.#filter + String.fromCharCode(byte).toLowerCase())
    } else return false
    return true
  }

  #filterBy(filter: string): void {
    this.#filter = filter
    this.#selected = 0
    this.#top = 0
  }

  /** False if the key needs choices that are not loaded: press it again after loading. */
  #press(key: Key): boolean {
    const page = Math.max((this.#size.rows || 24) - 6, 1)
    const all = this.#shown().length
    const steps = { up: -1, down: 1, pageUp: -page, pageDown: page, home: -all, end: all }
    const isBeyond = this.#selected + steps[key] > all - 1
    const listing = this.#current()
    const isAllThere = listing !== undefined && listing.next === undefined
    if (!isBeyond || isAllThere) {
      this.#move(steps[key])
      return true
    }
    // Near the end, so that the next page is wanted.
    if (key === 'end') this.#move(all)
    return false
  }

  #move(by: number): void {
    const last = Math.max(this.#shown().length - 1, 0)
    this.#selected = Math.min(Math.max(this.#selected + by, 0), last)
  }

  #scroll(height: number): void {
    if (this.#selected < this.#top) this.#top = this.#selected
    if (this.#selected >= this.#top + height) this.#top = this.#selected - height + 1
  }
}

/** The length of the key that starts with ESC; undefined when it is not whole. */
function keyLength(bytes: Buffer): number | undefined {
  const [, introducer] = bytes
  if (introducer === undefined) return undefined
  // ESC and a letter: Alt. Both are consumed without effect.
  if (introducer !== 0x5b && introducer !== 0x4f) return 2
  for (let at = 2; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0
    if (byte >= 0x40 && byte <= 0x7e) return at + 1
    // Longer than any known key: ignored.
    if (at > 16) return at + 1
  }
  return undefined
}

function listingOf(search: string, { choices, next, total }: ChoicePage): Listing {
  return { search, choices, next, total: total ?? choices.length }
}

/** After the page; the recently used targets are at the top already. */
function extended(listing: Listing, { choices, next }: ChoicePage): Listing {
  const known = new Set(listing.choices.map(({ name }) => name))
  const added = choices.filter(({ name }) => !known.has(name))
  return { ...listing, choices: [...listing.choices, ...added], next }
}

function since(ms: number): string {
  const minutes = Math.floor(ms / 60_000)
  if (minutes < 1) return 'just now'
  if (minutes < 60) return `${minutes} min ago`
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ago`
  return `${Math.floor(minutes / 1440)} days ago`
}

function clip(text: string, cols: number): string {
  return text.length > cols ? text.slice(0, cols) : text
}
