import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Waste, WasteShare } from './waste.ts'

/** What each socket may hold, however much the others do. */
const leastBytes = 64 * 1024
/** What all sockets hold beyond that: with more of it, each gets no more than the least. */
export const unsentOfAll = new Waste(128 * 1024 * 1024)
/** What a message costs beside its bytes while it waits. */
const messageBytes = 512
/**
 * Messages are sent though a socket is full. A peer that reads lets some thousand fewer than this wait; one
 * that reads nothing and has us answer is cut off, and earlier where all hold too much.
 */
const messagesMax = 16_384
const messagesLeast = 1024

/** What waits in a socket because the other side does not read it. */
export class Unsent {
  readonly #socket: Duplex
  readonly #of: Waste
  readonly #share: WasteShare
  /** May send again after it could not. */
  readonly #goOn: () => void
  #messages = 0
  /** A look at it comes once all that waits now has left. */
  #isWatched = false

  constructor(socket: Duplex, goOn: () => void, of = unsentOfAll) {
    this.#socket = socket
    this.#goOn = goOn
    this.#of = of
    this.#share = new WasteShare(of)
  }

  /** No more data is to be added, while all sockets hold too much. */
  get isTooMuch(): boolean {
    return this.#isWatched && this.#of.isTooMuch && this.#socket.writableLength > leastBytes
  }

  /** A message is sent. False when too many wait. */
  message(): boolean {
    if (this.#socket.writableLength === 0) this.#messages = 0
    this.#messages++
    return this.#messages <= (this.isTooMuch ? messagesLeast : messagesMax)
  }

  /** All that waited has left. */
  drained(): void {
    this.#messages = 0
  }

  /** After writes. */
  count(): void {
    const { writableLength, destroyed, writable } = this.#socket
    // Another stream hands on what it takes, and is bounded there.
    if (this.#isWatched || !(this.#socket instanceof Socket)) return
    if (destroyed || !writable || writableLength <= leastBytes) return this.#share.set(0)
    this.#share.set(writableLength + this.#messages * messageBytes)
    this.#isWatched = true
    this.#socket.write(Buffer.alloc(0), () => {
      this.#isWatched = false
      this.count()
      this.#goOn()
    })
  }
}
