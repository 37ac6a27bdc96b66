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
 * Nothing is held back: a chunk that ends inside a character is noted with its exact bytes at once,
 * for what is not in the file must not be shown to anyone.
 */
export class OutputDecoder {
  #decoder: TextDecoder | undefined

  decode(chunk: Buffer): OutputText {
    // Nearly every chunk: whole characters, and none begun before.
    if (this.#decoder === undefined && isUtf8(chunk)) return { text: chunk.toString('utf8') }
    this.#decoder ??= new TextDecoder('utf-8', { ignoreBOM: true })
    const text = this.#decoder.decode(chunk, { stream: true })
    if (isUtf8(chunk)) {
      // It ends a character, so the decoder holds nothing more.
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
