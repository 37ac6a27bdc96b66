import type { Socket } from 'node:net'
import type { ConnectionId } from '../wire/calls.ts'
import type { Admitted } from './admission.ts'

/** A connection that no worker has yet. */
export interface NewConnection {
  readonly id: ConnectionId
  readonly socket: Socket
  readonly source: string
  readonly admitted: Admitted
  /** By performance.now(). */
  readonly acceptedAtMs: number
}

/** A worker starts in about a second, and in a few where machines are slow. */
const waitMs = 10_000

/**
 * Connections that came while no worker could serve them: all have died, and the next ones start.
 * Admission bounds how many there are, because they have not logged in.
 */
export class WaitingConnections {
  readonly #waiting = new Map<ConnectionId, { connection: NewConnection; timer: NodeJS.Timeout }>()
  readonly #refused: () => void

  /** Calls `refused` for each connection that waited in vain. */
  constructor(refused: () => void) {
    this.#refused = refused
  }

  add(connection: NewConnection): void {
    const { id, socket, acceptedAtMs } = connection
    // One that was given back waits no longer than the others.
    const leftMs = Math.max(0, acceptedAtMs + waitMs - performance.now())
    const timer = setTimeout(() => {
      this.#refused()
      this.drop(id)
    }, leftMs)
    this.#waiting.set(id, { connection, timer })
    socket.once('close', () => this.drop(id))
  }

  /** All, in the order in which they came. They wait no longer. */
  take(): readonly NewConnection[] {
    const all = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { timer } of all) clearTimeout(timer)
    return all.map(({ connection }) => connection)
  }

  /** Closes one. False when it does not wait here. */
  drop(id: ConnectionId): boolean {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return false
    this.#waiting.delete(id)
    clearTimeout(waiting.timer)
    waiting.connection.socket.destroy()
    waiting.connection.admitted.release()
    return true
  }

  close(): void {
    for (const id of [...this.#waiting.keys()]) this.drop(id)
  }
}
