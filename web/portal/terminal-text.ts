/**
 * Output as it is fed to the player's terminal: nothing that is shown is left out, and no sequence
 * makes more work than a terminal of this size can show.
 *
 * A count in a sequence may be 65535, and the player does each of them. What such a count does to the
 * screen is done by a count of the size of the screen, too. The recording itself keeps every byte.
 */

/** Characters of one feed: with a line end each, they take some milliseconds. */
const pieceMax = 4096
/** Cells that one feed may touch, at most. */
const workMax = 150_000
/** About as much as one character of text costs, in cells that are moved or cleared. */
const cellsOfCharacter = 32
/** Longer parameters are of no sequence that a terminal knows. */
const parametersMax = 256
/** ESC # 8 fills the screen with E, by far the slowest sequence of the player. A test needs a few. */
const alignmentsMax = 1000

/** Modes and colours: their numbers are names. */
const namesIn = 'hlm'
const countsLinesIn = 'LMST'
const touchesScreenIn = 'JLMSThl'

export class TerminalText {
  #cols: number
  #rows: number
  /** Where the output is: in text, after an escape, or in a control sequence. */
  #place: 'text' | 'escape' | 'sequence' = 'text'
  /** The sequence so far, without its beginning. It is fed when it is complete. */
  #held = ''
  #alignments = 0
  #pieces: string[] = []
  #piece = ''
  #work = 0

  constructor(cols: number, rows: number) {
    this.#cols = cols
    this.#rows = rows
  }

  resize(cols: number, rows: number): void {
    this.#cols = cols
    this.#rows = rows
  }

  /** The output in pieces, each of which is drawn in some milliseconds. */
  write(text: string): readonly string[] {
    let at = 0
    while (at < text.length) {
      if (this.#place !== 'text') {
        this.#take(text.charAt(at++))
        continue
      }
      const end = nextSequence(text, at)
      this.#addText(text, at, end)
      if (end < text.length) this.#begin(text.charAt(end))
      at = end + 1
    }
    this.#cut()
    const pieces = this.#pieces
    this.#pieces = []
    return pieces
  }

  #begin(character: string): void {
    this.#held = ''
    this.#place = character === '\x1b' ? 'escape' : 'sequence'
  }

  /** A character inside a sequence, by the rules of the VT500: vt100.net/emu/dec_ansi_parser. */
  #take(character: string): void {
    const code = character.charCodeAt(0)
    if (character === '\x1b' || character === '\x9b') this.#begin(character)
    else if (character === '\x18' || character === '\x1a' || (code >= 0x80 && code < 0xa0)) {
      this.#place = 'text'
      this.#add(character, this.#cols)
    } else if (code < 0x20) this.#add(character, this.#cols)
    else if (code !== 0x7f) this.#takePrintable(character, code)
  }

  #takePrintable(character: string, code: number): void {
    if (this.#place === 'escape' && character === '[' && this.#held === '') this.#begin('\x9b')
    else if (code < (this.#place === 'escape' ? 0x30 : 0x40)) {
      if (this.#held.length <= parametersMax) this.#held += character
    } else {
      if (this.#held.length <= parametersMax) {
        if (this.#place === 'escape') this.#addEscape(character)
        else this.#addSequence(character)
      }
      this.#place = 'text'
    }
  }

  #addEscape(final: string): void {
    const name = this.#held + final
    if (name === '#8' && ++this.#alignments > alignmentsMax) return
    this.#add(`\x1b${name}`, name === '#8' || name === 'c' ? this.#screen : this.#cols)
  }

  #addSequence(final: string): void {
    const most = countsLinesIn.includes(final) ? this.#rows : Math.max(this.#cols, this.#rows)
    const parameters = namesIn.includes(final)
      ? this.#held
      : this.#held.replace(/\d+/g, (count) => (Number(count) > most ? `${most}` : count))
    this.#add(
      `\x1b[${parameters}${final}`,
      touchesScreenIn.includes(final) ? this.#screen : this.#cols,
    )
  }

  get #screen(): number {
    return this.#cols * this.#rows
  }

  #addText(text: string, from: number, to: number): void {
    for (let at = from; at < to; ) {
      let end = Math.min(at + pieceMax, to)
      // Not between the two halves of a character.
      if (end < to && /[\ud800-\udbff]/.test(text.charAt(end - 1))) end++
      this.#add(text.slice(at, end), (end - at) * cellsOfCharacter)
      at = end
    }
  }

  #add(text: string, work: number): void {
    if (this.#work + work > workMax) this.#cut()
    this.#piece += text
    this.#work += work
  }

  #cut(): void {
    if (this.#piece !== '') this.#pieces.push(this.#piece)
    this.#piece = ''
    this.#work = 0
  }
}

function nextSequence(text: string, from: number): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they begin a sequence.
  const sequence = /[\x1b\x9b]/g
  sequence.lastIndex = from
  return sequence.exec(text)?.index ?? text.length
}
