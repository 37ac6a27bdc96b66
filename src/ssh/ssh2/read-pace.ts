/** Long reads: fewer of them, and fewer packets torn in two. */
export const readBytesMax = 256 * 1024
/** Some hundred of the smallest packets. */
const readBytesMin = 4 * 1024
/** Of those who are not known to send long packets: some two thousand of the smallest ones. */
const readBytesUnknown = 64 * 1024
/** So much that was little work lets reads become twice as long. */
const earnBytes = 1024 * 1024
/** In one turn of the loop. */
const turnMs = 8

/**
 * How much of the process's time one socket takes before the others' turn comes. Bytes alone say little:
 * the same number of bytes in packets of one byte costs a thousand times as much, and a process that
 * works on one socket for seconds does not even answer that it lives.
 *
 * What a read costs is known only after it. So long reads are earned with much data, and lost by one read
 * that was much work: who sends a few long packets first gets no long read for a burst of short ones.
 */
export class ReadPace {
  #bytes = readBytesUnknown
  #most = readBytesUnknown
  /** Bytes that were little work since the last change of the most. */
  #earned = 0
  #spentMs = 0

  /** The length of the next read. */
  get bytes(): number {
    return this.#bytes
  }

  /** Counts the work on one read. False when the socket has had its time: call nextTurn() before it goes on. */
  spend(bytes: number, ms: number): boolean {
    this.#spentMs += ms
    if (ms > turnMs) {
      const fitting = Math.floor((bytes * turnMs) / ms)
      // Not where the system only let other processes go first.
      if (fitting < readBytesUnknown) this.#lose()
      this.#bytes = Math.max(readBytesMin, Math.min(this.#bytes / 2, fitting))
    } else if (ms < turnMs / 4) {
      this.#earn(bytes)
      this.#bytes = Math.min(this.#most, this.#bytes * 2)
    }
    return this.#spentMs < turnMs
  }

  nextTurn(): void {
    this.#spentMs = 0
  }

  #lose(): void {
    this.#most = Math.max(readBytesUnknown, this.#most / 2)
    this.#earned = 0
  }

  #earn(bytes: number): void {
    this.#earned += bytes
    if (this.#earned < earnBytes) return
    this.#earned = 0
    this.#most = Math.min(readBytesMax, this.#most * 2)
  }
}
