import { isUtf8 } from 'node:buffer'
import { TextDecoder } from 'node:util'

/** A piece of output as text, and its bytes where the text does not stand for them exactly. */
export interface OutputText {
  readonly text: string
  readonly exact?: Buffer
}

/**
 * Turns the bytes of one direction into text, across chunks that cut characters in two.
 *
 * No bytes are held back. A chunk that ends inside a character is noted with its exact bytes at
 * once, because output must be in the file before it is shown to anyone.
 */
export class OutputDecoder {
  readonly #isTerminal: boolean
  #decoder: TextDecoder | undefined

  /** Output of a terminal always has a text; a command's output may be only for a program. */
  constructor(isTerminal: boolean) {
    this.#isTerminal = isTerminal
  }

  decode(chunk: Buffer): OutputText {
    if (!this.#isTerminal && this.#decoder === undefined && looksBinary(chunk)) {
      // The part of it that a terminal would show: readable text must not be hidden, so nothing that a terminal
      // obeys is left in it, and nothing that came before goes on in it.
      return { text: freshState + chunk.toString('utf8').replaceAll(unreadable, ''), exact: chunk }
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
 * Ends any sequence that is open (CAN), and takes back what hides text: colours, concealment, a scroll region
 * (DECSTR, SGR 0). Where a part of the output is not shown as it came, what follows would otherwise be swallowed
 * by a sequence whose end is not shown.
 */
export const freshState = '\x18\x1b[!p\x1b[m'
/** Also ESC and the C1 controls: a sequence without a part of its bytes is another one. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it searches for control characters.
const unreadable = /[\0-\x06\x0e-\x1f\x7f-\x9f\ufffd]+/g
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
