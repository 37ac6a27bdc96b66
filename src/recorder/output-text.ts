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
      // The part of it that a terminal would show: readable text must not be hidden.
      return { text: chunk.toString('utf8').replaceAll(unreadable, ''), exact: chunk }
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
// biome-ignore lint/suspicious/noControlCharactersInRegex: it searches for control characters.
const unreadable = /[\0-\x06\x0e-\x1a\x1c-\x1f\ufffd]+/g
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
