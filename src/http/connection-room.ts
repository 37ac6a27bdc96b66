import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { sourceOf } from '../address.ts'
import { SourceSizes } from './source-sizes.ts'

interface Guest {
  readonly socket: Socket
  readonly source: string
  /** Requests without a complete answer. */
  asked: number
  /** Those of them that have come whole, and are being answered. */
  answering: number
  /** Since when the connection waits for a request, on the clock of performance.now(). */
  waitingSince: number
  /** Resolves when the last request is answered. */
  last: Promise<void>
}

/** Requests of one connection at the same time. No browser sends the next one before its answer. */
const pipelinedMax = 8
/** The first request of an honest connection comes within this time. */
const newMs = 2000

/**
 * The connections of a listener, at most so many.
 *
 * When there is no room, a connection makes some: of the address that has most of them, the one that
 * waits longest for a request, or else the oldest that is being answered. An address that has most itself
 * makes the room for its own newcomers, and has none of its requests cut off for them: it may be a proxy
 * with all users behind it.
 *
 * What holds, with N addresses and a share of the maximum / N: an address that has less than a share loses
 * no connection to another one, and it gets in while it has no more than a share then. So 100 addresses
 * take nothing from one that has ten, however many answers they leave unread.
 *
 * What does not hold: an address with more than a share (a proxy) loses answers to newcomers, down to the
 * share. Whoever shares the address of an attacker (a proxy, a NAT) may be kept out by them. An attacker
 * with more addresses than there are connections can cut anybody off; newcomers still get in, each in the
 * place of the one that has been there longest. An IPv6 /64 counts as one address, and those of one /48,
 * which an attacker has as easily, push out each other first; so do those of an IPv4 /24.
 */
export class ConnectionRoom {
  readonly #max: number
  /** By source, each in order of arrival. */
  readonly #guests = new Map<string, Set<Guest>>()
  readonly #sizes = new SourceSizes()
  readonly #bySocket = new Map<Socket, Guest>()

  constructor(max: number) {
    this.#max = max
  }

  /** Takes a connection in; where there is no room for it, the connection is closed. */
  enter(socket: Socket): void {
    const source = sourceOf(socket.remoteAddress ?? '')
    if (this.#bySocket.size >= this.#max) {
      const leaving = this.#leaving(source)
      if (leaving === undefined) return void socket.destroy()
      this.#forget(leaving)
      leaving.socket.destroy()
    }
    const waitingSince = performance.now()
    const last = Promise.resolve()
    const guest: Guest = { socket, source, asked: 0, answering: 0, waitingSince, last }
    const others = this.#guests.get(source) ?? new Set()
    this.#guests.set(source, others.add(guest))
    this.#sizes.change(source, others.size - 1, others.size)
    this.#bySocket.set(socket, guest)
    socket.once('close', () => this.#forget(guest))
  }

  /** Whether one more request of the connection may begin. */
  mayAsk(socket: Socket): boolean {
    return (this.#bySocket.get(socket)?.asked ?? pipelinedMax) < pipelinedMax
  }

  /**
   * A request begins. Resolves when those before it on its connection are answered: an answer that is made
   * behind one that nobody reads would wait in memory. False: the client has left, or has sent too many
   * requests before the first was answered, and the connection is closed.
   */
  async ask(socket: Socket, answer: ServerResponse): Promise<boolean> {
    const guest = this.#bySocket.get(socket)
    if (guest === undefined || !this.mayAsk(socket)) {
      socket.destroy()
      return false
    }
    guest.asked++
    const before = guest.last
    const answered = Promise.withResolvers<void>()
    guest.last = answered.promise
    answer.once('close', () => {
      guest.asked--
      answered.resolve()
    })
    await before
    return !socket.destroyed
  }

  /** A request has come whole, and is being answered. */
  answer(socket: Socket, answer: ServerResponse): void {
    const guest = this.#bySocket.get(socket)
    if (guest === undefined) return
    guest.answering++
    answer.once('close', () => {
      guest.answering--
      guest.waitingSince = performance.now()
    })
  }

  /** Who makes room for a connection of this address. */
  #leaving(newcomer: string): Guest | undefined {
    const most = this.#sizes.most
    const own = this.#guests.get(newcomer) ?? new Set()
    if (own.size + 1 >= most) {
      const leaving = longestWaiting(own)
      if (leaving !== undefined || own.size >= most) return leaving
    }
    const largest = this.#sizes.largest()
    const waiting = longestWaiting(this.#of(largest))
    // Two addresses that would only change places do not cut off each other's answers in turn.
    const mayCut = own.size === 0 || own.size + 1 < most
    if (!mayCut) return waiting
    const answered = oldestAnswered(this.#of(largest))
    // If each address has one connection, whoever has just come has had no time to ask yet.
    const isNew = most === 1 && performance.now() - (waiting?.waitingSince ?? 0) < newMs
    return isNew ? (answered ?? waiting) : (waiting ?? answered)
  }

  *#of(sources: readonly string[]): Generator<Guest> {
    for (const source of sources) yield* this.#guests.get(source) ?? []
  }

  #forget(guest: Guest): void {
    if (!this.#bySocket.delete(guest.socket)) return
    const others = this.#guests.get(guest.source)
    if (others?.delete(guest) !== true) return
    this.#sizes.change(guest.source, others.size + 1, others.size)
    if (others.size === 0) this.#guests.delete(guest.source)
  }
}

function longestWaiting(guests: Iterable<Guest>): Guest | undefined {
  let longest: Guest | undefined
  for (const guest of guests) {
    if (guest.answering > 0) continue
    if (longest === undefined || guest.waitingSince < longest.waitingSince) longest = guest
  }
  return longest
}

function oldestAnswered(guests: Iterable<Guest>): Guest | undefined {
  for (const guest of guests) if (guest.answering > 0) return guest
  return undefined
}
