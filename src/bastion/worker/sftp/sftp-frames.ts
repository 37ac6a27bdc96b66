import { SftpUnreadable } from '../errors.ts'

/** OpenSSH's limit: 256 KiB, and a little for the fields around data. */
const frameBytesMax = 256 * 1024 + 4096
/** A length, a type and an id. */
const frameBytesMin = 5
const headBytes = 4
/** The fields before the data of a packet: a type, an id, a handle, an offset, a length. */
const beginningBytes = 512

/** Receives packets. Each buffer is a view that is valid until the call returns. */
export interface SftpSink {
  /** A whole packet, without its length. */
  packet(payload: Buffer): void
  /** The beginning of a packet that comes in parts, and the number of bytes still to come. */
  begin(payload: Buffer, rest: number): void
  /** The next part of that packet. */
  more(bytes: Buffer): void
}

/** Cuts a stream into packets of SFTP: draft-ietf-secsh-filexfer-02 section 3. */
export class SftpFrames {
  readonly #inParts: number
  /** The packet that has begun and has not come whole, in memory that is used for each such packet. */
  #memory = Buffer.alloc(headBytes)
  #held = 0
  /** The bytes still to come of a packet in parts. */
  #rest = 0

  /**
   * Long packets of the type that carries data are passed in parts, so that they are never put
   * together.
   */
  constructor(inParts: number) {
    this.#inParts = inParts
  }

  /** How many bytes of a packet wait here for the rest of it: the last that came. */
  get holding(): number {
    return this.#held
  }

  push(chunk: Buffer, sink: SftpSink): void {
    let left = chunk
    while (left.length > 0) {
      if (this.#rest > 0) {
        const bytes = left.subarray(0, this.#rest)
        this.#rest -= bytes.length
        left = left.subarray(bytes.length)
        sink.more(bytes)
        continue
      }
      if (this.#held === 0 && left.length >= headBytes) {
        const end = headBytes + lengthOf(left)
        if (left.length >= end) {
          const packet = left.subarray(headBytes, end)
          left = left.subarray(end)
          sink.packet(packet)
          continue
        }
        if (left.length >= beginningBytes && left[headBytes] === this.#inParts) {
          this.#rest = end - left.length
          return sink.begin(left.subarray(headBytes), this.#rest)
        }
      }
      left = this.#hold(left)
      if (this.#missing() > 0) continue
      const held = this.#memory.subarray(headBytes, this.#held)
      this.#rest = headBytes + lengthOf(this.#memory) - this.#held
      this.#held = 0
      if (this.#rest === 0) sink.packet(held)
      else sink.begin(held, this.#rest)
    }
  }

  /** How much more is needed of the packet, or of its beginning: of its length, until that is known. */
  #missing(): number {
    if (this.#held <= headBytes) return headBytes + 1 - this.#held
    const end = headBytes + lengthOf(this.#memory)
    const isInParts = this.#memory[headBytes] === this.#inParts
    return (isInParts ? Math.min(end, beginningBytes) : end) - this.#held
  }

  /**
   * Copies the missing bytes, or all there are, because the memory is reused. Returns the remaining
   * bytes.
   */
  #hold(bytes: Buffer): Buffer {
    const missing = this.#missing()
    const needed = this.#held + missing
    if (this.#memory.length < needed) {
      const larger = Buffer.allocUnsafe(needed)
      this.#memory.copy(larger, 0, 0, this.#held)
      this.#memory = larger
    }
    this.#held += bytes.copy(this.#memory, this.#held, 0, missing)
    return bytes.subarray(missing)
  }
}

function lengthOf(head: Buffer): number {
  const length = head.readUInt32BE(0)
  if (length < frameBytesMin || length > frameBytesMax) {
    throw new SftpUnreadable(`a packet of ${length} bytes`)
  }
  return length
}
