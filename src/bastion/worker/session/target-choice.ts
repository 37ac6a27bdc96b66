import type { Channel } from '../../../ssh/index.ts'
import { printable } from '../refusal.ts'
import { type Choice, Menu, type ScreenSize } from './menu.ts'

/** What was chosen, and what was typed behind it. */
export interface Chosen {
  readonly target: string
  readonly rest: Buffer
}

const escapeMs = 100
/** Nobody is waited for longer. */
const idleMs = 10 * 60_000
/** Terminals that know how to draw. Others get a list with numbers. */
const drawing =
  /^(xterm|screen|tmux|rxvt|linux|vt[1-5]\d\d|alacritty|kitty|foot|wezterm|putty|konsole|iterm|eterm|cygwin|ansi|st|gnome|ghostty|contour)/i
const listedMax = 200

/** Has a person choose a target on their terminal. Bytes come in by input(). */
export class TargetChoice {
  /** Undefined when they left, or were waited for too long. */
  readonly chosen: Promise<Chosen | undefined>
  readonly #settle: (chosen: Chosen | undefined) => void
  readonly #channel: Channel
  readonly #menu: Menu | undefined
  readonly #choices: readonly Choice[]
  #line = ''
  #escapeTimer: NodeJS.Timeout | undefined
  #idleTimer: NodeJS.Timeout
  #isOver = false

  constructor(
    channel: Channel,
    choices: readonly Choice[],
    terminal: ScreenSize & { readonly term: string; readonly title: string },
  ) {
    const { promise, resolve } = Promise.withResolvers<Chosen | undefined>()
    this.chosen = promise
    this.#settle = resolve
    this.#channel = channel
    this.#choices = choices
    this.#idleTimer = setTimeout(() => this.end(), idleMs)
    if (drawing.test(terminal.term)) {
      this.#menu = new Menu(terminal.title, choices, terminal)
      this.#write(Menu.enter + this.#menu.render())
    } else this.#list(terminal.title)
  }

  /** Gives what of it is for the session. */
  input(chunk: Buffer): void {
    if (this.#isOver) return
    clearTimeout(this.#escapeTimer)
    this.#idleTimer.refresh()
    if (this.#menu === undefined) return this.#typed(chunk)
    const verdict = this.#menu.input(chunk)
    if ('open' in verdict) return this.end({ target: verdict.open, rest: verdict.rest })
    if ('leave' in verdict) return this.end()
    this.#write(this.#menu.render() + (verdict.bell ? '\x07' : ''))
    if (this.#menu.isEscapePending) {
      this.#escapeTimer = setTimeout(() => this.#escape(), escapeMs)
    }
  }

  resize(size: ScreenSize): void {
    if (this.#isOver || this.#menu === undefined) return
    this.#menu.resize(size)
    this.#write(this.#menu.render())
  }

  end(chosen?: Chosen): void {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#escapeTimer)
    clearTimeout(this.#idleTimer)
    this.#write(this.#menu === undefined ? '\r\n' : Menu.leave)
    this.#settle(chosen)
  }

  #escape(): void {
    if (this.#isOver || this.#menu === undefined) return
    if ('leave' in this.#menu.escape()) this.end()
    else this.#write(this.#menu.render())
  }

  /** For terminals that cannot draw: a list, and a line with a number or a name. */
  #list(title: string): void {
    const lines = this.#choices
      .slice(0, listedMax)
      .map(({ name }, at) => `${String(at + 1).padStart(4)}  ${printable(name)}`)
    const more = this.#choices.length - lines.length
    if (more > 0) lines.push(`      and ${more} more: give the name`)
    this.#write([printable(title), ...lines, 'number or name: '].join('\r\n'))
  }

  #typed(chunk: Buffer): void {
    for (const [at, byte] of chunk.entries()) {
      if (byte === 0x03 || byte === 0x04) return this.end()
      if (byte === 0x0d || byte === 0x0a) {
        const line = this.#line.trim()
        this.#line = ''
        const choice =
          this.#choices.find(({ name }) => name === line) ??
          (/^\d{1,4}$/.test(line) ? this.#choices[Number(line) - 1] : undefined)
        if (choice !== undefined) {
          return this.end({ target: choice.name, rest: Buffer.from(chunk.subarray(at + 1)) })
        }
        this.#write(line === '' ? '\r\nnumber or name: ' : '\r\nthere is no such; number or name: ')
      } else if (byte === 0x7f || byte === 0x08) {
        if (this.#line !== '') this.#write('\b \b')
        this.#line = this.#line.slice(0, -1)
      } else if (byte > 0x20 && byte < 0x7f && this.#line.length < 64) {
        this.#line += String.fromCharCode(byte)
        this.#write(String.fromCharCode(byte))
      }
    }
  }

  #write(text: string): void {
    this.#channel.write(Buffer.from(text), () => {})
  }
}
