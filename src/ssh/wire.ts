import { CodedError } from '../errors.ts'

/** Bytes from a stranger that do not match their format. The message has none of them. */
export class WireError extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_SSH_WIRE'
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const nameListPattern = /^[!-+\--~]{1,64}(,[!-+\--~]{1,64})*$/

/**
 * Reads the data types of RFC 4251 section 5, one after the other.
 *
 * Every method throws WireError instead of reading past the end or accepting a second spelling of a
 * value. Buffers are views of the input: copy bytes that must outlive it.
 */
export class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** How many bytes are left. */
  get left(): number {
    return this.#bytes.length - this.#at
  }

  u8(): number {
    return this.bytes(1).readUInt8()
  }

  u32(): number {
    return this.bytes(4).readUInt32BE()
  }

  u64(): bigint {
    return this.bytes(8).readBigUInt64BE()
  }

  /**
   * 0 or 1: RFC 4251 lets any other byte be true, but no program sends one, and it would not
   * re-encode.
   */
  boolean(): boolean {
    const byte = this.u8()
    if (byte > 1) throw new WireError('a boolean is neither 0 nor 1')
    return byte === 1
  }

  bytes(length: number): Buffer {
    if (length > this.left) throw new WireError('the data end too early')
    const from = this.#at
    this.#at += length
    return this.#bytes.subarray(from, this.#at)
  }

  string(): Buffer {
    return this.bytes(this.u32())
  }

  /** A string that must be UTF-8. */
  text(): string {
    const bytes = this.string()
    try {
      return utf8.decode(bytes)
    } catch {
      throw new WireError('a text is not UTF-8')
    }
  }

  /** The magnitude of an integer that must not be negative, without leading zero bytes; 0 is empty. */
  mpint(): Buffer {
    const bytes = this.string()
    const [first, second = 0] = bytes
    if (first === undefined) return bytes
    if (first >= 0x80) throw new WireError('an integer is negative')
    if (first > 0) return bytes
    // A zero byte is allowed only to keep the sign of the next one.
    if (second < 0x80) throw new WireError('an integer has unneeded leading bytes')
    return bytes.subarray(1)
  }

  nameList(): string[] {
    const text = this.string().toString('latin1')
    if (text === '') return []
    if (!nameListPattern.test(text)) throw new WireError('a name-list is malformed')
    return text.split(',')
  }

  /** Throws when bytes are left: no data may hide at the end. */
  end(): void {
    if (this.left > 0) throw new WireError('there are bytes after the end')
  }
}

/**
 * Writes the fields that Reader reads. Each method returns the writer, so that a message reads as
 * its format.
 */
export class Writer {
  readonly #parts: Uint8Array[] = []

  u8(value: number): this {
    return this.bytes(Buffer.of(value))
  }

  u32(value: number): this {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value)
    return this.bytes(bytes)
  }

  u64(value: bigint): this {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64BE(value)
    return this.bytes(bytes)
  }

  boolean(value: boolean): this {
    return this.u8(value ? 1 : 0)
  }

  bytes(bytes: Uint8Array): this {
    this.#parts.push(bytes)
    return this
  }

  string(bytes: Uint8Array): this {
    return this.u32(bytes.length).bytes(bytes)
  }

  text(text: string): this {
    return this.string(Buffer.from(text, 'utf8'))
  }

  /** An unsigned big-endian magnitude; leading zero bytes do no harm. */
  mpint(magnitude: Uint8Array): this {
    const start = magnitude.findIndex((byte) => byte !== 0)
    if (start === -1) return this.u32(0)
    const digits = magnitude.subarray(start)
    const isSigned = (digits[0] ?? 0) >= 0x80
    return this.string(isSigned ? Buffer.concat([Buffer.of(0), digits]) : digits)
  }

  nameList(names: readonly string[]): this {
    return this.text(names.join(','))
  }

  build(): Buffer {
    return Buffer.concat(this.#parts)
  }
}
