import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyServerFactory } from 'fastify'
import { sourceOf } from '../address.ts'
import { AddressBlocks } from '../address-blocks.ts'
import { StartRate } from '../start-rate.ts'
import type { TurnOwner } from '../turns.ts'
import { type BareRefusal, refuse } from './bare-answer.ts'
import type { ConnectionRoom } from './connection-room.ts'
import { Guests } from './guests.ts'
import type { PageWork } from './page-work.ts'
import type { ReaderPace } from './reader-pace.ts'
import { Visit } from './visit.ts'

export interface StartLimits {
  /** New connections a second from one address. */
  readonly startsPerSecondMax: number
  /** Addresses and CIDR blocks without this limit. */
  readonly exempt: readonly string[]
}

export interface EntranceOptions {
  readonly room: ConnectionRoom
  readonly pace: ReaderPace
  readonly work: PageWork
  readonly starts: StartLimits
  readonly http: ServerOptions
  /** How long a connection may say nothing. */
  readonly idleMs: number
  /** Counts a connection that was refused before a request of it came to Fastify. */
  onRefusal(refusal: BareRefusal | 'rate'): void
}

declare module 'fastify' {
  interface FastifyInstance {
    readonly entrance: Pick<Entrance, 'recognize' | 'charge' | 'lookUpOwner'>
    /** The address that people type into a browser, if it is not the listener's own. */
    readonly publicUrl: string | undefined
  }
}

/**
 * The way from a connection to Fastify. All that Node does with a connection or a request happens behind it:
 * Node answers none by itself, and none passes by the limits.
 */
export class Entrance {
  readonly #options: EntranceOptions
  readonly #starts: StartRate
  readonly #exempt: AddressBlocks
  readonly #guests = new Guests((address) => this.#exempt.has(address))
  readonly #visits = new Map<Socket, Visit>()

  constructor(options: EntranceOptions) {
    this.#options = options
    this.#starts = new StartRate(options.starts.startsPerSecondMax)
    this.#exempt = new AddressBlocks(options.starts.exempt)
  }

  /** Makes a server whose requests come to `handler` in their turn. */
  readonly serverFactory: FastifyServerFactory<Server> = (handler) => {
    const { http, idleMs } = this.#options
    // Node would answer a request without a host by itself.
    const own = { requireHostHeader: false, headersTimeout: 0, requestTimeout: 0 }
    // Its limits on a request count the time in which the bytes wait here: ours do not.
    const server = createServer({ ...http, ...own })
    server.setTimeout(idleMs)
    const open = server.listeners('connection')
    server.removeAllListeners('connection')
    server.on('connection', (socket) => {
      this.#enter(socket, () => {
        for (const listener of open) Reflect.apply(listener, server, [socket])
      })
    })
    const ask: RequestListener = (request, answer) => this.#ask(request, answer, handler)
    // Node would answer an unknown expectation by itself: none is met, and the request counts.
    server.on('request', ask).on('checkExpectation', ask)
    server.on('checkContinue', (request, answer) => {
      this.#ask(request, answer, () => {
        answer.writeContinue()
        handler(request, answer)
      })
    })
    return server
  }

  /** The connection's last request was that person's, or nobody's who is known. */
  recognize(socket: Socket, person: TurnOwner | undefined): void {
    this.#visits.get(socket)?.isFrom(person)
    if (person !== undefined) this.#guests.know(socket.remoteAddress ?? '', person)
  }

  /** As Guests.lookUpOwnerAt. */
  lookUpOwner(address: string): TurnOwner {
    return this.#guests.lookUpOwnerAt(address)
  }

  /** Work for the connection's last request that was not done while its bytes were read. */
  charge(socket: Socket, workMs: number): void {
    const owner = this.#visits.get(socket)?.owner
    if (owner !== undefined) this.#options.work.owe(owner, workMs)
  }

  /** Ends the connections whose requests take too long to come, or to be read. Call it every second or so. */
  check(): void {
    for (const [socket, visit] of this.#visits) {
      // Its refusal has had time to leave.
      if (visit.hasLeft) socket.destroy()
      const lateness = visit.lateness()
      if (lateness !== undefined) this.#refuse(socket, visit, lateness)
    }
  }

  /** Bytes that are not HTTP never become a request. */
  refuseMalformed(socket: Socket): void {
    if (socket.writable) this.#options.onRefusal('malformed')
    this.#visits.get(socket)?.leave()
    refuse(socket, 'malformed')
  }

  #refuse(socket: Socket, visit: Visit, lateness: 'slow' | 'busy'): void {
    this.#options.onRefusal(lateness)
    visit.leave()
    // Its answer would be taken for that of the request before it.
    if (visit.hasOpen) socket.destroy()
    else refuse(socket, lateness)
  }

  #enter(socket: Socket, open: () => void): void {
    const address = socket.remoteAddress ?? ''
    const mayStart = this.#starts.start(sourceOf(address)) || this.#exempt.has(address)
    if (!mayStart) {
      this.#options.onRefusal('rate')
      return void socket.destroy()
    }
    const { room, pace, work } = this.#options
    const owner = this.#guests.ownerAt(address)
    work.atOnce(owner, () => {
      room.enter(socket)
      if (socket.destroyed) return
      pace.watch(socket)
      open()
      this.#visits.set(socket, new Visit(socket, work, owner, () => room.mayAsk(socket)))
      socket.once('close', () => this.#visits.delete(socket))
    })
  }

  #ask(request: IncomingMessage, answer: ServerResponse, handler: RequestListener): void {
    const { socket } = request
    // The rest of a piece whose requests were too many.
    if (socket.destroyed) return
    const { room } = this.#options
    const visit = this.#visits.get(socket)
    visit?.begin(request)
    const turn = room.ask(socket, answer).then((mayGoOn) => {
      if (mayGoOn) handler(request, answer)
    })
    turn.catch((err: Error) => socket.destroy(err))
    answer.once('close', () => visit?.goOn())
  }
}
