import type { ChoicePage, ChoiceQuery } from '../../wire/calls.ts'
import { printable } from '../refusal.ts'
import type { Picker, Verdict } from './picker.ts'

/** A page that was asked for, and the name that is looked for in it. */
interface Wanted {
  readonly query: ChoiceQuery
  readonly name?: string
}

const lineMax = 64
const prompt = 'number, name, or /text to search: '
const promptForMore = 'number, name, /text to search, or Enter for more: '

/**
 * A numbered list of targets, for terminals that cannot draw: one line of input at a time. A number
 * means the same target while the list is open.
 */
export class LineMenu implements Picker {
  readonly enter = ''
  readonly isEscapePending = false
  readonly #numbers = new Map<string, number>()
  readonly #names: string[] = []
  #text: string
  #line = ''
  #search = ''
  #next: string | undefined
  #wanted: Wanted | undefined
  #chosen: string | undefined

  constructor(title: string, first: ChoicePage) {
    this.#text = `${printable(title)}\r\n`
    this.#show('', first)
  }

  /** The echo of the last line, which ends. */
  get leave(): string {
    const text = this.render()
    return text.endsWith('\r\n') ? text : `${text}\r\n`
  }

  input(bytes: Buffer): Verdict {
    const found = this.#chosen
    if (found !== undefined) return { open: found, rest: bytes }
    for (const [at, byte] of bytes.entries()) {
      if (byte === 0x03 || byte === 0x04) return { leave: true }
      if (byte === 0x0d || byte === 0x0a) {
        const rest = Buffer.from(bytes.subarray(at + 1))
        const choice = this.#entered()
        if (choice !== undefined) return { open: choice, rest }
        if (this.#wanted !== undefined) return { wait: rest }
      } else this.#typed(byte)
    }
    return { bell: false }
  }

  escape(): Verdict {
    return { bell: false }
  }

  resize(): void {}

  wants(): ChoiceQuery | undefined {
    return this.#wanted?.query
  }

  take(query: ChoiceQuery, page: ChoicePage): void {
    const wanted = this.#wanted
    if (wanted?.query !== query) return
    this.#wanted = undefined
    if (wanted.name === undefined) return this.#show(query.search, page)
    const found = page.choices.find(({ name }) => name === wanted.name)
    if (found === undefined) this.#text += `no target has that number or name; ${this.#prompt()}`
    this.#chosen = found?.name
  }

  render(): string {
    const text = this.#text
    this.#text = ''
    return text
  }

  #show(search: string, { choices, next }: ChoicePage): void {
    this.#search = search
    this.#next = next
    const lines = choices.map(({ name }) => {
      const number = String(this.#numberOf(name)).padStart(4)
      return `${number}  ${printable(name)}\r\n`
    })
    if (lines.length === 0) lines.push('no target has that in its name\r\n')
    this.#text += lines.join('') + this.#prompt()
  }

  #numberOf(name: string): number {
    const known = this.#numbers.get(name)
    if (known !== undefined) return known
    const number = this.#names.push(name)
    this.#numbers.set(name, number)
    return number
  }

  #prompt(): string {
    return this.#next === undefined ? prompt : promptForMore
  }

  /**
   * The target that the line names; undefined if a page is needed, or the line is asked for again.
   */
  #entered(): string | undefined {
    const line = this.#line.trim()
    this.#line = ''
    this.#text += '\r\n'
    if (line === '') {
      if (this.#next === undefined) this.#text += this.#prompt()
      else this.#wanted = { query: { search: this.#search, after: this.#next } }
      return undefined
    }
    if (line.startsWith('/')) {
      this.#wanted = { query: { search: line.slice(1).toLowerCase(), after: '' } }
      return undefined
    }
    if (this.#numbers.has(line)) return line
    const numbered = /^\d{1,9}$/.test(line) ? this.#names[Number(line) - 1] : undefined
    if (numbered !== undefined) return numbered
    // It may not be shown yet: an exact name comes first among those that contain it.
    this.#wanted = { query: { search: line.toLowerCase(), after: '' }, name: line.toLowerCase() }
    return undefined
  }

  #typed(byte: number): void {
    if (byte === 0x7f || byte === 0x08) {
      if (this.#line !== '') this.#text += '\b \b'
      this.#line = this.#line.slice(0, -1)
    } else if (byte > 0x20 && byte < 0x7f && this.#line.length < lineMax) {
      this.#line += String.fromCharCode(byte)
      this.#text += String.fromCharCode(byte)
    }
  }
}
