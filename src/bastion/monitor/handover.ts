import type { ChildProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import type { ConnectionId } from '../wire/calls.ts'
import type { SocketTag } from '../wire/messages.ts'

/** What Node's half of a channel says when a socket has arrived, or has not. */
const receipts = ['{"cmd":"NODE_HANDLE_ACK"}\n', '{"cmd":"NODE_HANDLE_NACK"}\n']
const takenWithinMs = 10_000

/**
 * Sockets on their way to a worker. They go over the channel that Node forks with, because nothing
 * else takes them; we keep our end of each until the worker says that it has its own, so that no
 * connection hangs on a worker that never took it.
 */
export class Handover {
  readonly #process: ChildProcess
  readonly #underWay = new Map<
    ConnectionId,
    { readonly socket: Socket; readonly sinceMs: number }
  >()

  /** Tells of whatever the worker says on a channel on which it has nothing to say. */
  constructor(process: ChildProcess, forged: (what: string) => void) {
    this.#process = process
    guardChannel(process, forged)
    // Nothing comes so far. Without a listener, what did would be kept.
    process.on('message', () => forged('an unexpected message'))
  }

  /** How many the worker has yet to take. */
  get underWay(): number {
    return this.#underWay.size
  }

  has(id: ConnectionId): boolean {
    return this.#underWay.has(id)
  }

  give(given: SocketTag, socket: Socket, failed: () => void): void {
    const id = given.connection
    this.#underWay.set(id, { socket, sinceMs: performance.now() })
    // Node would have the worker tell on this channel when it is closed.
    Reflect.set(socket, 'server', null)
    this.#process.send(given, socket, { keepOpen: true }, (err) => {
      if (err !== null && this.taken(id)) failed()
    })
  }

  /** The worker has it: our end is closed, and the connection stays. False when it has it already. */
  taken(id: ConnectionId): boolean {
    const given = this.#underWay.get(id)
    given?.socket.destroy()
    return this.#underWay.delete(id)
  }

  /** Those that a worker should have taken long ago, and will not get any more. */
  late(): readonly ConnectionId[] {
    const now = performance.now()
    return [...this.#underWay].flatMap(([id, { sinceMs }]) =>
      now - sinceMs > takenWithinMs && this.taken(id) ? [id] : [],
    )
  }

  close(): void {
    for (const id of this.#underWay.keys()) this.taken(id)
  }
}

/**
 * Lets nothing through to Node's reader but the receipts that it waits for, byte for byte: what is
 * none would be an uncaught error there, or a socket that stays open, or memory. Node gives no way to
 * send a socket to a process that is not believed, so this takes hold of the reader itself; where it
 * does not find it, nothing is forked.
 */
function guardChannel(process: ChildProcess, forged: (what: string) => void): void {
  const name = Object.getOwnPropertySymbols(process).find(
    ({ description }) => description === 'kChannelHandle',
  )
  const channel: unknown = name && Reflect.get(process, name)
  const read: unknown =
    typeof channel === 'object' && channel !== null && Reflect.get(channel, 'onread')
  if (typeof channel !== 'object' || channel === null || typeof read !== 'function') {
    throw new Error('this Node.js version has an unknown channel to its child processes')
  }
  let said = ''
  let isForged = false
  // One socket is on its way at a time, and one receipt for it: Node acts on that before it reads on.
  const isReceipt = (text: string) =>
    Array.isArray(Reflect.get(process, '_handleQueue')) &&
    receipts.some((receipt) => receipt.startsWith(text))
  Reflect.set(channel, 'onread', function (this: unknown, bytes?: ArrayBuffer) {
    const handle: unknown = Reflect.get(channel, 'pendingHandle')
    if (bytes === undefined) return Reflect.apply(read, this, [bytes])
    said += Buffer.from(bytes).toString('latin1')
    isForged ||= handle !== null || !isReceipt(said)
    if (isForged) {
      said = ''
      Reflect.set(channel, 'pendingHandle', null)
      closeHandle(handle)
      return forged('a message that is not a receipt')
    }
    if (said.endsWith('\n')) said = ''
    return Reflect.apply(read, this, [bytes])
  })
}

function closeHandle(handle: unknown): void {
  if (typeof handle !== 'object' || handle === null) return
  const close: unknown = Reflect.get(handle, 'close')
  if (typeof close === 'function') Reflect.apply(close, handle, [])
}
