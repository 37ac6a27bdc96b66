import { isUtf8 } from 'node:buffer'
import { TextDecoder } from 'node:util'

/** A piece of output as text, and its bytes where the text does not stand for them exactly. */
export interface OutputText {
  readonly text: string
  readonly exact?: Buffer
}

/**
 * Whether a recording still shows its output as it came. Once a part of it is not shown so, the terminal of the
 * replay is in another state than the user's was, and a later movement of the cursor would do something else: all
 * that follows is shown as plain text.
 */
export class ShownAs {
  isPlain = false
}

/**
 * Turns the bytes of one direction into text, across chunks that cut characters in two.
 *
 * No bytes are held back. A chunk that ends inside a character is noted with its exact bytes at
 * once, because output must be in the file before it is shown to anyone.
 */
export class OutputDecoder {
  readonly #isTerminal: boolean
  readonly #shown: ShownAs
  #decoder: TextDecoder | undefined

  /**
   * Output of a terminal always has a text; a command's output may be only for a program. The streams of a
   * recording share how they are shown.
   */
  constructor(isTerminal: boolean, shown = new ShownAs()) {
    this.#isTerminal = isTerminal
    this.#shown = shown
  }

  decode(chunk: Buffer): OutputText {
    if (!this.#isTerminal && (this.#shown.isPlain || this.#decoder === undefined)) {
      const before = this.#shown.isPlain ? '' : freshState
      this.#shown.isPlain ||= looksBinary(chunk)
      if (this.#shown.isPlain) {
        // The bytes of a character that is not whole are noted already.
        this.#decoder = undefined
        const text = before + plainText(chunk)
        return chunk.equals(Buffer.from(text)) ? { text } : { text, exact: chunk }
      }
    }
    // Nearly every chunk: whole characters, and none left incomplete before.
    if (this.#decoder === undefined && isUtf8(chunk)) return { text: chunk.toString('utf8') }
    this.#decoder ??= new TextDecoder('utf-8', { ignoreBOM: true })
    const text = this.#decoder.decode(chunk, { stream: true })
    if (isUtf8(chunk)) {
      // It ends a character, so the decoder keeps no more bytes.
      this.#decoder = undefined
      if (Buffer.from(text).equals(chunk)) return { text }
    }
    return { text, exact: chunk }
  }

  /** The mark of a character that was never finished; its bytes are noted already. */
  end(): OutputText | undefined {
    const text = this.#decoder?.decode() ?? ''
    this.#decoder = undefined
    return text === '' ? undefined : { text, exact: Buffer.alloc(0) }
  }
}

const sampleBytes = 512
/**
 * Ends any sequence that is open (CAN), takes back what hides text (alternate screens, colours, concealment, a
 * scroll region, a line that does not wrap, another character set), and goes to a new line at the bottom.
 */
export const freshState =
  '\x18\x1b[!p\x1b[?47l\x1b[?1047l\x1b[?7h\x1b[?6l\x1b[r\x1b[m\x1b(B\x0f\x1b[999;1H\r\n'
/** All controls but HT and line ends, also C1: a sequence without a part of its bytes is another one. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it searches for control characters.
const unreadable = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]+/g

/** What of these bytes a person reads: nothing in it takes away another part of it. */
function plainText(chunk: Buffer): string {
  return chunk
    .toString('utf8')
    .replaceAll(unreadable, '')
    .replaceAll(/\r(?!\n)/g, '\n')
}

/** Control characters that text has: BEL to CR, and ESC. */
const isStrange = (byte: number) => byte < 0x07 || (byte > 0x0d && byte < 0x20 && byte !== 0x1b)

/**
 * Whether these bytes are not readable text: an archive, a disk, zeros. As text they would be six
 * times as long. Names that NUL separates are text.
 */
function looksBinary(chunk: Buffer): boolean {
  const sample = chunk.subarray(0, sampleBytes)
  let strange = 0
  for (const byte of sample) if (isStrange(byte)) strange++
  if (strange * 4 > sample.length) return true
  return strange * 16 > sample.length && !isUtf8(chunk)
}
