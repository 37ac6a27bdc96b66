import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { TurnOwner } from '../turns.ts'
import type { WorkOwner } from '../work-queue.ts'
import { RequestAbandoned } from './errors.ts'
import type { PageWork } from './page-work.ts'

/** Longer heads, and bodies, come in several pieces. */
const pieceBytes = 1024
/** A client that sends more of them in a piece asks without end: it is not worth its turns. */
const headsMax = 8
const endOfHead = '\r\n\r\n'
/** Of the client's own time: it does not count while its bytes wait here for their turn. */
const headMs = 10_000
const requestMs = 15_000
/** So long a piece waits for its turn. Below Node's limit for a connection that rests between two requests. */
const turnMs = 8000

/**
 * A connection of a listener, whose bytes are read a piece at a time, each in its turn. Node itself would
 * parse all that has come at once, which may be 1,500 requests. A piece has the end of one head at most.
 *
 * With a listener of `readable` nothing else is read; Node's own listener of `data` gets each piece from
 * here.
 */
export class Visit {
  readonly #socket: Socket
  readonly #work: PageWork
  readonly #mayAsk: () => boolean
  readonly #leaving = new AbortController()
  readonly #stranger: WorkOwner
  readonly #parse: readonly ((bytes: Buffer) => void)[]
  #person: WorkOwner | undefined
  /** The last one that began. */
  #request: IncomingMessage | undefined
  /** Those that began, and whose answers have not left. */
  #open = 0
  /** A head has come in part; or the first one has not come. */
  #isInHead = true
  #isReading = false
  #waitsSinceMs: number | undefined
  #lookedAtMs = performance.now()
  /** How long the client has owed the rest of its request. */
  #owedMs = 0

  constructor(socket: Socket, work: PageWork, stranger: WorkOwner, mayAsk: () => boolean) {
    this.#socket = socket
    this.#work = work
    this.#mayAsk = mayAsk
    this.#stranger = stranger
    this.#parse = socket.listeners('data') as ((bytes: Buffer) => void)[]
    for (const parse of this.#parse) socket.removeListener('data', parse)
    // The body of a request has room again: resume. The peer has taken what waited for it: drain.
    for (const event of ['readable', 'resume', 'drain']) socket.on(event, () => this.#read())
    socket.once('close', () => this.leave())
  }

  /** Whose work the next requests are. */
  get owner(): WorkOwner {
    return this.#person ?? this.#stranger
  }

  get hasOpen(): boolean {
    return this.#open > 0
  }

  get hasLeft(): boolean {
    return this.#leaving.signal.aborted
  }

  /** Whose requests the next ones are; nobody's who is known, if undefined. */
  isFrom(person: TurnOwner | undefined): void {
    this.#person = person && ['people', person.tenant, person.user]
  }

  /** A request has begun. */
  begin(request: IncomingMessage): void {
    this.#request = request
    this.#isInHead = false
    this.#open++
  }

  /** A request was answered. */
  goOn(): void {
    this.#open--
    this.#read()
  }

  /** Nothing more is read. */
  leave(): void {
    this.#leaving.abort(new RequestAbandoned())
  }

  /**
   * Whether the client has taken too long to send its request, or we to read it. Call it every second or so.
   */
  lateness(): 'slow' | 'busy' | undefined {
    const nowMs = performance.now()
    const passedMs = nowMs - this.#lookedAtMs
    this.#lookedAtMs = nowMs
    if (this.hasLeft) return undefined
    if (this.#waitsSinceMs !== undefined)
      return nowMs - this.#waitsSinceMs >= turnMs ? 'busy' : undefined
    if (this.#isDone()) this.#owedMs = 0
    else if (this.#socket.readableLength === 0) this.#owedMs += passedMs
    return this.#owedMs >= (this.#isInHead ? headMs : requestMs) ? 'slow' : undefined
  }

  /** All that has begun to come has come. Between two requests, Node has its own limit. */
  #isDone(): boolean {
    return this.#request?.complete === true && (this.#open > 0 || !this.#isInHead)
  }

  #read(): void {
    if (this.#isReading || this.#socket.destroyed || this.hasLeft) return
    // Tells Node of the end of the connection, if there is no more.
    if (this.#socket.readableLength === 0) this.#socket.read()
    else if (this.#mayRead()) this.#readPieces().catch(() => this.#socket.destroy())
  }

  async #readPieces(): Promise<void> {
    const { signal } = this.#leaving
    this.#isReading = true
    try {
      while (this.#mayRead() && !signal.aborted) {
        this.#waitsSinceMs = performance.now()
        await this.#work.run(this.owner, signal, () => this.#readPiece())
      }
    } catch (err) {
      // A connection that was refused has an answer to be read.
      if (!signal.aborted) throw err
    } finally {
      this.#isReading = false
      this.#waitsSinceMs = undefined
    }
    if (this.#socket.readableLength === 0) this.#read()
  }

  #readPiece(): void {
    this.#waitsSinceMs = undefined
    if (!this.#mayRead()) return
    const { readableLength } = this.#socket
    const bytes: Buffer | null = this.#socket.read(Math.min(pieceBytes, readableLength))
    if (bytes === null) return
    const end = bytes.indexOf(endOfHead)
    const length = end === -1 ? bytes.length : end + endOfHead.length
    if (this.#request?.complete !== false) {
      if (bytes.toString('latin1').split(endOfHead).length > headsMax + 1) {
        return void this.#socket.destroy()
      }
      if (!this.#isInHead) this.#owedMs = 0
      this.#isInHead = true
    }
    if (length < bytes.length) this.#socket.unshift(bytes.subarray(length))
    for (const parse of this.#parse) parse(bytes.subarray(0, length))
  }

  /** What comes waits here while its answers, or the body before it, would wait in memory. */
  #mayRead(): boolean {
    const { destroyed, readableLength, writableNeedDrain } = this.#socket
    if (destroyed || readableLength === 0 || writableNeedDrain || !this.#mayAsk()) return false
    const body = this.#request
    return body === undefined || body.complete || body.readableLength < body.readableHighWaterMark
  }
}
