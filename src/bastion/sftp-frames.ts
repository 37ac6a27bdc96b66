import { SftpUnreadable } from './errors.ts'

/** What OpenSSH takes at most: 256 KiB, and a little for what is around data. */
const frameBytesMax = 256 * 1024 + 4096
/** A length, a type and an id. */
const frameBytesMin = 5

/** Cuts a stream into packets of SFTP: draft-ietf-secsh-filexfer-02 section 3. */
export class SftpFrames {
  #held: Buffer[] = []
  #heldBytes = 0

  /** Whether a packet has begun that has not come whole. */
  get isMidway(): boolean {
    return this.#heldBytes > 0
  }

  /** Calls back for each whole packet, without its length. Views of the chunk where it may be. */
  push(chunk: Buffer, packet: (payload: Buffer) => void): void {
    let rest = chunk
    if (this.#heldBytes > 0) {
      const missing = this.#missing(rest)
      if (missing > rest.length) return this.#hold(rest)
      this.#hold(rest.subarray(0, missing))
      rest = rest.subarray(missing)
      const whole = Buffer.concat(this.#held)
      this.#held = []
      this.#heldBytes = 0
      // Its length alone may have been missing.
      if (whole.length < 4 + lengthOf(whole)) {
        this.#hold(whole)
        return this.push(rest, packet)
      }
      packet(whole.subarray(4))
    }
    while (rest.length >= 4) {
      const end = 4 + lengthOf(rest)
      if (rest.length < end) break
      packet(rest.subarray(4, end))
      rest = rest.subarray(end)
    }
    // A copy: the memory of what came is used again.
    if (rest.length > 0) this.#hold(Buffer.from(rest))
  }

  /** How much of what comes next belongs to what is held. */
  #missing(next: Buffer): number {
    if (this.#heldBytes >= 4) {
      const [first = next] = this.#held
      const head = first.length >= 4 ? first : Buffer.concat(this.#held)
      return 4 + lengthOf(head) - this.#heldBytes
    }
    return 4 - this.#heldBytes
  }

  #hold(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#held.push(Buffer.from(bytes))
    this.#heldBytes += bytes.length
  }
}

function lengthOf(head: Buffer): number {
  const length = head.readUInt32BE(0)
  if (length < frameBytesMin || length > frameBytesMax) {
    throw new SftpUnreadable(`a packet of ${length} bytes`)
  }
  return length
}
