import { Fifo } from './fifo.ts'

/** Shorter than this, a chunk costs more than its bytes: its objects, and the memory that it is cut from. */
export const smallBytes = 1024
const roomBytesMax = 32 * 1024

interface Piece {
  bytes: Buffer
  /** Memory behind the bytes that a small chunk may still fill. */
  room: Buffer | undefined
}

/**
 * Chunks that wait, in their order. Small ones are joined, so what waits costs its bytes and little more,
 * whatever its sender cut them into.
 */
export class Chunks {
  readonly #pieces = new Fifo<Piece>()

  add(chunk: Buffer): void {
    const last = this.#pieces.last
    // The first one may go on at once, and is not copied.
    if (last === undefined || chunk.length >= smallBytes) {
      return this.#pieces.push({ bytes: chunk, room: undefined })
    }
    const isRoom = last.room !== undefined && last.bytes.length + chunk.length <= last.room.length
    if (last.room === undefined || !isRoom) return this.#begin(chunk, last.room)
    last.room.set(chunk, last.bytes.length)
    last.bytes = last.room.subarray(0, last.bytes.length + chunk.length)
  }

  /** The first chunk; undefined when none waits. */
  shift(): Buffer | undefined {
    return this.#pieces.shift()?.bytes
  }

  /** All chunks. None waits after it. */
  drain(): readonly Buffer[] {
    return this.#pieces.drain().map(({ bytes }) => bytes)
  }

  /** A few small ones get little room: each time that it is full, the next has twice as much. */
  #begin(chunk: Buffer, full: Buffer | undefined): void {
    const length = Math.min(roomBytesMax, Math.max(smallBytes, (full?.length ?? 0) * 2))
    const room = Buffer.allocUnsafeSlow(length)
    room.set(chunk)
    this.#pieces.push({ bytes: room.subarray(0, chunk.length), room })
  }
}
