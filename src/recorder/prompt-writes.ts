import { writeSync } from 'node:fs'

/** A longer write waits for the disk, so a thread does it better. */
const promptBytesMax = 16 * 1024
/** A write to the page cache takes some microseconds: a disk that makes it wait is busy. */
const slowMs = 5
const pauseMs = 1000

/**
 * File systems that take a write into the page cache, by the magic number that statfs(2) gives: ext,
 * XFS, Btrfs, F2FS, ZFS, tmpfs, overlayfs. With any other a write may wait for a network.
 */
const localTypes: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0xf2f52010, 0x2fc12fc1, 0x01021994, 0x794c7630,
])

/**
 * Small writes that are done at once, instead of by a thread of the pool: otherwise a keystroke's
 * echo waits until two more threads wake, which takes milliseconds on a busy machine. Only for
 * storage that answers fast; after a slow write the threads are used for a while.
 */
export class PromptWrites {
  readonly #isLocal: boolean
  readonly #nowMs: () => number
  #pausedUntilMs = -Infinity

  /** With the type of the file system, as statfs(2) gives it. */
  constructor(type: number, nowMs = () => performance.now()) {
    this.#isLocal = localTypes.has(type)
    this.#nowMs = nowMs
  }

  /** Writes as many bytes as it can, and returns their number. Throws the system's error. */
  write(fd: number, bytes: Buffer, write: typeof writeSync = writeSync): number {
    if (!this.#isLocal || bytes.length > promptBytesMax) return 0
    const beganMs = this.#nowMs()
    if (beganMs < this.#pausedUntilMs) return 0
    try {
      return write(fd, bytes)
    } finally {
      const endedMs = this.#nowMs()
      if (endedMs - beganMs > slowMs) this.#pausedUntilMs = endedMs + pauseMs
    }
  }
}
