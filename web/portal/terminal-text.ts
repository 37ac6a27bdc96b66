/**
 * Output in the pieces that are fed to the player's terminal. All of it is fed, just as it is: where a
 * sequence is left out or shortened, the cursor ends elsewhere, and what comes next may be drawn where
 * it is erased. This only counts the work that each makes, so that the page gets its turn in between.
 */

/** Characters of text in one piece: with a line end each, they take some milliseconds. */
const pieceMax = 4096
/** Cells that one piece may touch, unless a single sequence touches more. */
const workMax = 150_000
/** About as much as one character of text costs, in cells that are moved or cleared. */
const cellsOfCharacter = 32
/** The player knows no larger number. */
const numberMax = 65_535

/** What ends a sequence that may touch all of the screen. */
const touchScreen: Readonly<Record<string, string>> = { escape: 'c', sequence: 'JLMSThl' }

export class TerminalText {
  #cols: number
  #screen: number
  /** Where the output is: in text, after an escape, or in a control sequence. */
  #place: 'text' | 'escape' | 'sequence' = 'text'
  /** What the sequence has so far: its last character, the number at its end, and its largest one. */
  #last = ''
  #number = 0
  #largest = 0
  #pieces: string[] = []
  #piece = ''
  #work = 0

  constructor(cols: number, rows: number) {
    this.#cols = cols
    this.#screen = cols * rows
  }

  resize(cols: number, rows: number): void {
    this.#cols = cols
    this.#screen = cols * rows
  }

  /** The output in pieces, each of which is drawn in some milliseconds. */
  write(text: string): readonly string[] {
    let at = 0
    while (at < text.length) {
      if (this.#place === 'text') {
        const end = nextSequence(text, at)
        this.#addText(text, at, end)
        at = end
        if (at === text.length) break
      }
      // Whole, also if it is two units of the text.
      const character = String.fromCodePoint(text.codePointAt(at) ?? 0)
      this.#add(character, this.#take(character))
      at += character.length
    }
    this.#cut()
    const pieces = this.#pieces
    this.#pieces = []
    return pieces
  }

  /**
   * Follows a character of a sequence, by the rules of the VT500: vt100.net/emu/dec_ansi_parser.
   * Answers with the cells that it makes the terminal touch.
   */
  #take(character: string): number {
    const code = character.codePointAt(0) ?? 0
    if (character === '\x1b') return this.#begin('escape')
    if (character === '\x9b') return this.#begin('sequence')
    if (character === '\x18' || character === '\x1a' || (code >= 0x80 && code < 0xa0))
      this.#place = 'text'
    else if (code >= 0x20 && code !== 0x7f) return this.#takePrintable(character, code)
    return this.#cols
  }

  #takePrintable(character: string, code: number): number {
    if (this.#place === 'escape' && character === '[' && this.#last === '')
      return this.#begin('sequence')
    if (code < (this.#place === 'escape' ? 0x30 : 0x40)) return this.#addParameter(character, code)
    const cells = this.#cellsOfSequence(character)
    this.#place = 'text'
    return cells
  }

  #begin(place: 'escape' | 'sequence'): number {
    this.#place = place
    this.#last = ''
    this.#number = 0
    this.#largest = 0
    return 1
  }

  #addParameter(character: string, code: number): number {
    const digit = code - 0x30
    const isDigit = digit >= 0 && digit <= 9
    this.#number = isDigit ? Math.min(this.#number * 10 + digit, numberMax) : 0
    this.#largest = Math.max(this.#largest, this.#number)
    this.#last = character
    return 1
  }

  #cellsOfSequence(final: string): number {
    // It fills the screen with E.
    if (this.#place === 'escape' && final === '8' && this.#last === '#') return this.#screen
    // It repeats a character as often as its number says.
    if (this.#place === 'sequence' && final === 'b')
      return Math.max(this.#largest, 1) * cellsOfCharacter
    return touchScreen[this.#place]?.includes(final) ? this.#screen : this.#cols
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
