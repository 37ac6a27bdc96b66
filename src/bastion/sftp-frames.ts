import { SftpUnreadable } from './errors.ts'

/** What OpenSSH takes at most: 256 KiB, and a little for what is around data. */
const frameBytesMax = 256 * 1024 + 4096
/** A length, a type and an id. */
const frameBytesMin = 5
const headBytes = 4

/** Cuts a stream into packets of SFTP: draft-ietf-secsh-filexfer-02 section 3. */
export class SftpFrames {
  /** The packet that has begun and has not come whole, in memory that is used for each such packet. */
  #memory = Buffer.alloc(headBytes)
  #held = 0

  /** Whether a packet has begun that has not come whole. */
  get isMidway(): boolean {
    return this.#held > 0
  }

  /** Calls back for each whole packet, without its length: a view that is good until that returns. */
  push(chunk: Buffer, packet: (payload: Buffer) => void): void {
    let rest = chunk
    while (rest.length > 0) {
      if (this.#held === 0 && rest.length >= headBytes) {
        const end = headBytes + lengthOf(rest)
        if (rest.length >= end) {
          packet(rest.subarray(headBytes, end))
          rest = rest.subarray(end)
          continue
        }
      }
      rest = this.#hold(rest)
      if (this.#missing() > 0) continue
      const end = this.#held
      this.#held = 0
      packet(this.#memory.subarray(headBytes, end))
    }
  }

  /** How much more the packet needs: of its length, as long as that is not known. */
  #missing(): number {
    if (this.#held < headBytes) return headBytes - this.#held
    return headBytes + lengthOf(this.#memory) - this.#held
  }

  /** Keeps what is missing of it, or what there is: its memory is used again. Answers what is left. */
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
