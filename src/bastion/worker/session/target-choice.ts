import { Chunks } from '../../../chunks.ts'
import type { Channel } from '../../../ssh/index.ts'
import type { ChoicePage, ChoiceQuery } from '../../wire/calls.ts'
import { LineMenu } from './line-menu.ts'
import { Menu } from './menu.ts'
import type { Picker, ScreenSize, Verdict } from './picker.ts'

/** The chosen target, and the bytes that were typed after it. */
export interface Chosen {
  readonly target: string
  readonly rest: Buffer
}

const escapeMs = 100
const colsMax = 240
const rowsMax = 100
/** Bytes that are read at once: each may cost a look at all targets, or a line of text. */
const readMax = 64
/** Of text that the client has not taken: more than a screen of a usual size. */
const unsentMax = 64 * 1024
/** How long an idle user is waited for. */
const idleMs = 10 * 60_000
/** Terminals that know how to draw. Others get a list with numbers. */
const drawing =
  /^(xterm|screen|tmux|rxvt|linux|vt[1-5]\d\d|alacritty|kitty|foot|wezterm|putty|konsole|iterm|eterm|cygwin|ansi|st|gnome|ghostty|contour)/i

/** Has a person choose a target on their terminal. Bytes come in by input(). */
export class TargetChoice {
  /**
   * Undefined when the user left, or was idle for too long. Rejects when a page cannot be loaded.
   */
  readonly chosen: Promise<Chosen | undefined>
  readonly #settle: PromiseWithResolvers<Chosen | undefined>
  readonly #channel: Channel
  readonly #picker: Picker
  readonly #load: (query: ChoiceQuery) => Promise<ChoicePage>
  /** Bytes that wait for a page, or for the client to take the text. It can send at most one window of them. */
  readonly #held = new Chunks()
  /** What is left of the chunk that is being read: before those that wait. */
  #rest: Buffer = Buffer.alloc(0)
  /** In both. */
  #heldBytes = 0
  #waitsForPage = false
  /** The page is there, and what waited is to be read, even if no byte did. */
  #isDue = false
  #unsent = 0
  /** The screen has changed since it was written. */
  #isStale = false
  #soon: NodeJS.Immediate | undefined
  #isLoading = false
  #escapeTimer: NodeJS.Timeout | undefined
  #idleTimer: NodeJS.Timeout
  #isOver = false

  constructor(
    channel: Channel,
    first: ChoicePage,
    load: (query: ChoiceQuery) => Promise<ChoicePage>,
    terminal: ScreenSize & { readonly term: string; readonly title: string },
  ) {
    this.#settle = Promise.withResolvers()
    this.chosen = this.#settle.promise
    this.#channel = channel
    this.#load = load
    this.#idleTimer = setTimeout(() => this.end(), idleMs)
    const { term, title } = terminal
    this.#picker = drawing.test(term)
      ? new Menu(title, first, clamped(terminal))
      : new LineMenu(title, first)
    this.#write(this.#picker.enter)
    this.#draw()
    this.#loadWanted()
  }

  /** Takes bytes, and gives their credit back to the client once they are read. */
  input(chunk: Buffer): void {
    if (this.#isOver) return
    this.#idleTimer.refresh()
    this.#held.add(chunk)
    this.#heldBytes += chunk.length
    if (this.#soon === undefined) this.#goOn()
  }

  resize(size: ScreenSize): void {
    if (this.#isOver) return
    this.#picker.resize(clamped(size))
    this.#draw()
    this.#loadWanted()
  }

  end(chosen?: Chosen): void {
    if (this.#isOver) return
    this.#close()
    this.#settle.resolve(chosen)
  }

  #close(): void {
    this.#isOver = true
    clearTimeout(this.#escapeTimer)
    clearTimeout(this.#idleTimer)
    clearImmediate(this.#soon)
    this.#write(this.#picker.leave)
    this.#channel.consumed(this.#takeAll().length)
  }

  /** Reads what has come, unless a page is awaited, or the client must take what it has asked for first. */
  #goOn(): void {
    if (this.#isOver || this.#waitsForPage || this.#isBlocked) return
    if (this.#heldBytes > 0 || this.#isDue) {
      this.#isDue = false
      clearTimeout(this.#escapeTimer)
      this.#read(this.#take())
      // Others have their turn between two reads.
      if (this.#heldBytes > 0) this.#goOnLater()
    } else if (this.#isStale) this.#draw()
  }

  #take(): Buffer {
    const first = this.#rest.length > 0 ? this.#rest : (this.#held.shift() ?? this.#rest)
    const bytes = first.subarray(0, readMax)
    this.#rest = first.subarray(readMax)
    this.#heldBytes -= bytes.length
    return bytes
  }

  #takeAll(): Buffer {
    const all = Buffer.concat([this.#rest, ...this.#held.drain()])
    this.#rest = Buffer.alloc(0)
    this.#heldBytes = 0
    return all
  }

  #goOnLater(): void {
    this.#soon ??= setImmediate(() => {
      this.#soon = undefined
      this.#goOn()
    })
  }

  get #isBlocked(): boolean {
    return this.#unsent > unsentMax
  }

  #read(bytes: Buffer): void {
    const verdict = this.#picker.input(bytes)
    if ('wait' in verdict) {
      this.#rest = Buffer.concat([verdict.wait, this.#rest])
      this.#heldBytes += verdict.wait.length
      this.#waitsForPage = true
      this.#channel.consumed(bytes.length - verdict.wait.length)
      this.#draw()
      return this.#loadWanted()
    }
    this.#channel.consumed(bytes.length)
    this.#obey(verdict)
    if (!this.#isOver && this.#picker.isEscapePending) {
      this.#escapeTimer = setTimeout(() => this.#escape(), escapeMs)
    }
  }

  #escape(): void {
    if (!this.#isOver) this.#obey(this.#picker.escape())
  }

  #obey(verdict: Verdict): void {
    if ('open' in verdict) {
      const rest = Buffer.concat([verdict.rest, this.#takeAll()])
      // Their credit is given back when they are typed ahead.
      this.#channel.consumed(rest.length - verdict.rest.length)
      return this.end({ target: verdict.open, rest })
    }
    if ('leave' in verdict) return this.end()
    const bell = 'bell' in verdict && verdict.bell ? '\x07' : ''
    this.#draw(bell)
    this.#loadWanted()
  }

  /** One page at a time: the keys that come meanwhile may want another one, and only the last is loaded. */
  #loadWanted(): void {
    if (this.#isOver || this.#isLoading) return
    const query = this.#picker.wants()
    if (query === undefined) return
    this.#isLoading = true
    this.#load(query).then(
      (page) => this.#loaded(query, page),
      (err: unknown) => {
        if (this.#isOver) return
        this.#close()
        this.#settle.reject(err)
      },
    )
  }

  #loaded(query: ChoiceQuery, page: ChoicePage): void {
    this.#isLoading = false
    if (this.#isOver) return
    this.#picker.take(query, page)
    this.#isDue = this.#waitsForPage
    this.#waitsForPage = false
    this.#isStale = true
    this.#goOn()
    this.#loadWanted()
  }

  /** A client that takes nothing gets no second screen: each key that it sends would cost one. */
  #draw(bell = ''): void {
    this.#isStale = this.#isBlocked
    if (!this.#isStale) this.#write(this.#picker.render() + bell)
  }

  #write(text: string): void {
    if (text === '') return
    const bytes = Buffer.from(text)
    this.#unsent += bytes.length
    this.#channel.write(bytes, this.#sent)
  }

  readonly #sent = (bytes: number): void => {
    const wasBlocked = this.#isBlocked
    this.#unsent -= bytes
    // Later: a client that leaves drops all of it at once, and is heard to leave in the same turn.
    if (wasBlocked && !this.#isBlocked) this.#goOnLater()
  }
}

/** A line of it may be as wide as the terminal says, for each of many targets. */
function clamped({ cols, rows }: ScreenSize): ScreenSize {
  return { cols: Math.min(cols, colsMax), rows: Math.min(rows, rowsMax) }
}
