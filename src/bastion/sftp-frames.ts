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
    while (this.#held > 0 && rest.length > 0) {
      rest = this.#hold(rest, this.#missing())
      if (this.#missing() > 0) continue
      const end = this.#held
      this.#held = 0
      packet(this.#memory.subarray(headBytes, end))
    }
    while (rest.length >= headBytes) {
      const end = headBytes + lengthOf(rest)
      if (rest.length < end) break
      packet(rest.subarray(headBytes, end))
      rest = rest.subarray(end)
    }
    if (rest.length === 0) return
    // The memory of what came is used again, and so is this.
    rest = this.#hold(rest, Math.min(rest.length, headBytes))
    this.#hold(rest, rest.length)
  }

  /** How much more the packet needs: of its length, as long as that is not known. */
  #missing(): number {
    if (this.#held < headBytes) return headBytes - this.#held
    return headBytes + lengthOf(this.#memory) - this.#held
  }

  /** Keeps so much of it, or what there is; answers what is left. */
  #hold(bytes: Buffer, count: number): Buffer {
    const part = Math.min(count, bytes.length)
    const needed = this.#held < headBytes ? headBytes : headBytes + lengthOf(this.#memory)
    if (this.#memory.length < needed) {
      const larger = Buffer.allocUnsafe(needed)
      this.#memory.copy(larger, 0, 0, this.#held)
      this.#memory = larger
    }
    bytes.copy(this.#memory, this.#held, 0, part)
    this.#held += part
    return bytes.subarray(part)
  }
}

function lengthOf(head: Buffer): number {
  const length = head.readUInt32BE(0)
  if (length < frameBytesMin || length > frameBytesMax) {
    throw new SftpUnreadable(`a packet of ${length} bytes`)
  }
  return length
}
