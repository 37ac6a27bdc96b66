import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { sourceOf } from '../address.ts'
import type { TurnOwner } from '../turns.ts'
import { RequestAbandoned } from './errors.ts'
import type { PageWork } from './page-work.ts'

/** Of the shortest requests, 40 are in a piece; of those that browsers send, one or two. */
const pieceBytes = 1024

/**
 * A connection of a listener, whose bytes are read a piece at a time, each in its turn. Node itself would
 * parse all that has come at once, which may be 1,500 requests.
 *
 * Node's own listener of `data` gets each piece that read() takes. With a listener of `readable` nothing
 * else is read.
 */
export class Visit {
  readonly #socket: Socket
  readonly #work: PageWork
  readonly #mayAsk: () => boolean
  readonly #leaving = new AbortController()
  readonly #stranger: TurnOwner
  #person: TurnOwner | undefined
  /** The last one that began. */
  #request: IncomingMessage | undefined
  #isReading = false

  constructor(socket: Socket, work: PageWork, mayAsk: () => boolean) {
    this.#socket = socket
    this.#work = work
    this.#mayAsk = mayAsk
    this.#stranger = { tenant: 'strangers', user: sourceOf(socket.remoteAddress ?? '') }
    // The body of a request has room again: resume. The peer has taken what waited for it: drain.
    for (const event of ['readable', 'resume', 'drain']) socket.on(event, () => this.#read())
    socket.once('close', () => this.#leaving.abort(new RequestAbandoned()))
  }

  /** Whose requests the next ones are; nobody's who is known, if undefined. */
  isFrom(person: TurnOwner | undefined): void {
    this.#person = person && { tenant: 'people', user: `${person.tenant} ${person.user}` }
  }

  /** A request has begun. */
  begin(request: IncomingMessage): void {
    this.#request = request
  }

  /** A request was answered. */
  goOn(): void {
    this.#read()
  }

  #read(): void {
    if (this.#isReading || this.#socket.destroyed) return
    // Tells Node of the end of the connection, if there is no more.
    if (this.#socket.readableLength === 0) this.#socket.read()
    else if (this.#mayRead()) this.#readPieces().catch(() => this.#socket.destroy())
  }

  async #readPieces(): Promise<void> {
    this.#isReading = true
    try {
      while (this.#mayRead()) {
        const owner = this.#person ?? this.#stranger
        await this.#work.run(owner, this.#leaving.signal, () => this.#readPiece())
      }
    } finally {
      this.#isReading = false
    }
    if (this.#socket.readableLength === 0) this.#read()
  }

  #readPiece(): void {
    if (this.#mayRead()) this.#socket.read(Math.min(pieceBytes, this.#socket.readableLength))
  }

  /** What comes waits here while its answers, or the body before it, would wait in memory. */
  #mayRead(): boolean {
    const { destroyed, readableLength, writableNeedDrain } = this.#socket
    if (destroyed || readableLength === 0 || writableNeedDrain || !this.#mayAsk()) return false
    const body = this.#request
    return body === undefined || body.complete || body.readableLength < body.readableHighWaterMark
  }
}
