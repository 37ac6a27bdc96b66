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
import type { ConnectionRoom } from './connection-room.ts'
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
}

declare module 'fastify' {
  interface FastifyInstance {
    readonly entrance: Pick<Entrance, 'recognize'>
    /** The address that people type into a browser, if it is not the listener's own. */
    readonly publicUrl: string | undefined
  }
}

/** The database's answer to a cookie or a link comes later, and costs about so much here. */
const lookupMs = 0.5

/**
 * The way from a connection to Fastify. All that Node does with a connection or a request happens behind it:
 * Node answers none by itself, and none passes by the limits.
 */
export class Entrance {
  readonly #options: EntranceOptions
  readonly #starts: StartRate
  readonly #exempt: AddressBlocks
  readonly #visits = new WeakMap<Socket, Visit>()

  constructor(options: EntranceOptions) {
    this.#options = options
    this.#starts = new StartRate(options.starts.startsPerSecondMax)
    this.#exempt = new AddressBlocks(options.starts.exempt)
  }

  /** Makes a server whose requests come to `handler` in their turn. */
  readonly serverFactory: FastifyServerFactory<Server> = (handler) => {
    const { http, idleMs } = this.#options
    // Node would answer a request without a host by itself.
    const server = createServer({ ...http, requireHostHeader: false })
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
  }

  #enter(socket: Socket, open: () => void): void {
    const { room, pace, work } = this.#options
    const address = socket.remoteAddress ?? ''
    const mayStart = this.#starts.start(sourceOf(address)) || this.#exempt.has(address)
    if (!mayStart) return void socket.destroy()
    room.enter(socket)
    if (socket.destroyed) return
    pace.watch(socket)
    work.atOnce(open)
    this.#visits.set(socket, new Visit(socket, work, () => room.mayAsk(socket)))
  }

  #ask(request: IncomingMessage, answer: ServerResponse, handler: RequestListener): void {
    const { socket } = request
    // The rest of a piece whose requests were too many.
    if (socket.destroyed) return
    const { room, work } = this.#options
    const visit = this.#visits.get(socket)
    visit?.begin(request)
    if (request.headers.cookie !== undefined || request.method === 'POST') work.owe(lookupMs)
    const turn = room.ask(socket, answer).then((mayGoOn) => {
      if (mayGoOn) handler(request, answer)
    })
    turn.catch((err: Error) => socket.destroy(err))
    answer.once('close', () => visit?.goOn())
  }
}
