import type { Socket } from 'node:net'
import { sourceOf } from '../address.ts'

interface Guest {
  readonly socket: Socket
  readonly source: string
  /** Requests without a complete answer. */
  asked: number
  /** Those of them that have come whole, and are being answered. */
  answering: number
}

/** Requests of one connection at the same time. No browser sends the next one before its answer. */
const pipelinedMax = 8

/**
 * The connections of a listener, at most so many.
 *
 * When there is no room, a connection makes some: of the address that has most of them, the oldest that
 * waits for a request. So whoever holds connections open loses them first, and a flood does not keep a
 * browser, a health check or a scrape of metrics out. A request that is being answered is not cut off for
 * another one of the same address, which may be a proxy with all users behind it.
 */
export class ConnectionRoom {
  readonly #max: number
  /** By source, each in order of arrival. */
  readonly #guests = new Map<string, Set<Guest>>()
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
    const guest: Guest = { socket, source, asked: 0, answering: 0 }
    const others = this.#guests.get(source) ?? new Set()
    this.#guests.set(source, others.add(guest))
    this.#bySocket.set(socket, guest)
    socket.once('close', () => this.#forget(guest))
  }

  /**
   * A request begins. Call the result when it is answered. Undefined: the connection has sent too many
   * before the first was answered, and is closed.
   */
  ask(socket: Socket): (() => void) | undefined {
    const guest = this.#bySocket.get(socket)
    if (guest === undefined || guest.asked === pipelinedMax) {
      socket.destroy()
      return undefined
    }
    guest.asked++
    return () => {
      guest.asked--
    }
  }

  /** A request has come whole. Call the result when it is answered. */
  answer(socket: Socket): () => void {
    const guest = this.#bySocket.get(socket)
    if (guest === undefined) return () => {}
    guest.answering++
    return () => {
      guest.answering--
    }
  }

  #leaving(newcomer: string): Guest | undefined {
    let largest: ReadonlySet<Guest> = new Set()
    for (const guests of this.#guests.values()) if (guests.size > largest.size) largest = guests
    const everyone = [...this.#bySocket.values()]
    const oldestOf = (guests: Iterable<Guest>) =>
      [...guests].find(({ answering }) => answering === 0)
    const [first] = largest
    const isTooMany = largest.size > this.#max / 2 && first?.source !== newcomer
    return oldestOf(largest) ?? oldestOf(everyone) ?? (isTooMany ? first : undefined)
  }

  #forget(guest: Guest): void {
    if (!this.#bySocket.delete(guest.socket)) return
    const others = this.#guests.get(guest.source)
    others?.delete(guest)
    if (others?.size === 0) this.#guests.delete(guest.source)
  }
}
