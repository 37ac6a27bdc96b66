import { printable } from '../refusal.ts'

/** A target that may be chosen. */
export interface Choice {
  readonly name: string
  /** RFC 3339, UTC: when this person was last there. */
  readonly lastAt?: string | undefined
}

export interface ScreenSize {
  readonly cols: number
  readonly rows: number
}

/** What came of some input; what was typed behind a choice is for the session. */
export type Verdict =
  | { readonly open: string; readonly rest: Buffer }
  | { readonly leave: true }
  | { readonly bell: boolean }

const escapeKey = 0x1b
const filterMax = 32
/** Sequences of keys, by what follows ESC [ or ESC O. */
const keys: {
  readonly [sequence: string]: 'up' | 'down' | 'pageUp' | 'pageDown' | 'home' | 'end'
} = {
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
 * A full-screen list to choose a target from: type to filter, arrows to move, Enter to open. Knows
 * nothing of channels: bytes in, verdicts and screens out. All that it shows is printable.
 */
export class Menu {
  readonly #title: string
  readonly #choices: readonly Choice[]
  readonly #now: () => number
  #size: ScreenSize
  #filter = ''
  #selected = 0
  #top = 0
  /** Of a key that has not come whole. */
  #pending: Buffer = Buffer.alloc(0)

  constructor(
    title: string,
    choices: readonly Choice[],
    size: ScreenSize,
    now: () => number = () => Date.now(),
  ) {
    this.#title = printable(title)
    this.#choices = choices.toSorted(byRecency)
    this.#size = size
    this.#now = now
  }

  /** What is to be shown before the first screen, and after the last. */
  static readonly enter = '\x1b[?1049h\x1b[?25l'
  static readonly leave = '\x1b[?25h\x1b[?1049l'

  /** Whether a single ESC has come: a key of its own if nothing follows within moments. */
  get isEscapePending(): boolean {
    return this.#pending.length === 1
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
        this.#key(bytes.toString('latin1', at + 2, at + length))
        at += length - 1
      } else if (byte === 0x0d || byte === 0x0a) {
        const choice = this.#shown()[this.#selected]
        if (choice !== undefined) {
          return { open: choice.name, rest: Buffer.from(bytes.subarray(at + 1)) }
        }
        bell = true
      } else if (byte === 0x03 || byte === 0x04) return { leave: true }
      else bell = !this.#typed(byte) || bell
    }
    return { bell }
  }

  /** Nothing followed an ESC: it takes the filter back, or leaves. */
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
    if (shown.length === 0) lines.push(clip('   nothing of that name; Esc takes it back', cols))
    while (lines.length < rows - 1) lines.push('')
    if (spare) {
      const count = `${shown.length === 0 ? 0 : this.#selected + 1}/${shown.length}`
      const help = ' Enter opens  type to filter  arrows move  Esc leaves'
      const wide = `${help.padEnd(Math.max(cols - count.length - 2, 0))}${count}`
      lines.push(
        `\x1b[2m${clip(help.length + count.length + 2 > cols ? ` ${count}` : wide, cols - 1)}\x1b[0m`,
      )
    }
    return `\x1b[H${lines.slice(0, rows).join('\x1b[K\r\n')}\x1b[K\x1b[J`
  }

  #shown(): readonly Choice[] {
    const filter = this.#filter
    if (filter === '') return this.#choices
    const starting = this.#choices.filter(({ name }) => name.startsWith(filter))
    const others = this.#choices.filter(
      ({ name }) => !name.startsWith(filter) && name.includes(filter),
    )
    return [...starting, ...others]
  }

  /** False when the byte does nothing here. */
  #typed(byte: number): boolean {
    if (byte === 0x7f || byte === 0x08) this.#filterBy(this.#filter.slice(0, -1))
    else if (byte === 0x15 || byte === 0x17) this.#filterBy('')
    else if (byte === 0x10) this.#move(-1)
    else if (byte === 0x0e || byte === 0x09) this.#move(1)
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

  #key(sequence: string): void {
    const page = Math.max((this.#size.rows || 24) - 6, 1)
    switch (keys[sequence]) {
      case 'up':
        return this.#move(-1)
      case 'down':
        return this.#move(1)
      case 'pageUp':
        return this.#move(-page)
      case 'pageDown':
        return this.#move(page)
      case 'home':
        return this.#move(-this.#choices.length)
      case 'end':
        return this.#move(this.#choices.length)
    }
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
  // ESC and a letter: Alt. Both are taken, and mean nothing.
  if (introducer !== 0x5b && introducer !== 0x4f) return 2
  for (let at = 2; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0
    if (byte >= 0x40 && byte <= 0x7e) return at + 1
    // Longer than any key: whatever it is, it is none.
    if (at > 16) return at + 1
  }
  return undefined
}

/** Those used last first, the others by name. */
function byRecency(a: Choice, b: Choice): number {
  if (a.lastAt !== b.lastAt) {
    if (a.lastAt === undefined) return 1
    if (b.lastAt === undefined) return -1
    return a.lastAt < b.lastAt ? 1 : -1
  }
  return a.name < b.name ? -1 : 1
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
