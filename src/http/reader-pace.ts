import type { Socket } from 'node:net'

export interface ReaderPaceLimits {
  /** How long bytes may wait for their reader, beside the time that follows from their number. */
  readonly waitMs: number
  readonly bytesPerSecond: number
}

/** Bytes that are on their way to a reader, and when they must have left. */
interface Due {
  /** The number of the last of them, counted from the start of the connection. */
  readonly upTo: number
  readonly untilMs: number
}

/** The size of an answer does not count: a large recording arrives over a slow line. */
const defaultLimits: ReaderPaceLimits = { waitMs: 30_000, bytesPerSecond: 1024 }

/**
 * Ends connections whose peer takes its answer too slowly.
 *
 * Node's own limit ends those that take nothing for a while; a byte now and then keeps them, with the
 * answer in memory and its file open. Here the bytes that wait for the peer at one look must all have left
 * in a time. Only the peer is measured: an answer that waits for a file or a database has no bytes yet.
 */
export class ReaderPace {
  readonly #limits: ReaderPaceLimits
  readonly #due = new Map<Socket, Due | undefined>()

  constructor(limits: ReaderPaceLimits = defaultLimits) {
    this.#limits = limits
  }

  watch(socket: Socket): void {
    this.#due.set(socket, undefined)
    socket.once('close', () => this.#due.delete(socket))
  }

  /** Looks at each connection. Call it every second or so. */
  check(): void {
    const now = performance.now()
    for (const [socket, due] of this.#due) {
      const { bytesWritten, writableLength: left } = socket
      const isOver = due === undefined || bytesWritten - left >= due.upTo
      if (!isOver && now >= due.untilMs) socket.destroy()
      else if (left === 0) this.#due.set(socket, undefined)
      else if (isOver) {
        const { waitMs, bytesPerSecond } = this.#limits
        const untilMs = now + waitMs + (left * 1000) / bytesPerSecond
        this.#due.set(socket, { upTo: bytesWritten, untilMs })
      }
    }
  }
}
