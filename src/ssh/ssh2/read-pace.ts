/** Long reads: fewer of them, and fewer packets torn in two. */
export const readBytesMax = 256 * 1024
/** Some hundred of the smallest packets. */
const readBytesMin = 4 * 1024
/** In one turn of the loop. */
const turnMs = 8

/**
 * How much of the process's time one socket takes before the others' turn comes. Bytes alone say little:
 * the same number of bytes in packets of one byte costs a thousand times as much, and a process that
 * works on one socket for seconds does not even answer that it lives.
 */
export class ReadPace {
  #bytes = readBytesMax
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
      this.#bytes = Math.max(readBytesMin, Math.min(this.#bytes / 2, fitting))
    } else if (ms < turnMs / 4) this.#bytes = Math.min(readBytesMax, this.#bytes * 2)
    return this.#spentMs < turnMs
  }

  nextTurn(): void {
    this.#spentMs = 0
  }
}
