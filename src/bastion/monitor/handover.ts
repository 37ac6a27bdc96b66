import type { ChildProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import type { ConnectionId } from '../wire/calls.ts'
import type { SocketTag } from '../wire/messages.ts'

/** Node's half of a channel writes these when a socket has arrived, or has not. */
const receipts = ['{"cmd":"NODE_HANDLE_ACK"}\n', '{"cmd":"NODE_HANDLE_NACK"}\n']
const takenWithinMs = 10_000

/**
 * Sockets on their way to a worker. They use Node's own channel, because only that channel can
 * carry them. We keep our end of each socket until the worker reports that it has its own, so that
 * a connection does not hang on a worker that never took it.
 */
export class Handover {
  readonly #process: ChildProcess
  readonly #underWay = new Map<
    ConnectionId,
    { readonly socket: Socket; readonly sinceMs: number }
  >()

  /** Reports every message on a channel on which the worker must be silent. */
  constructor(process: ChildProcess, forged: (what: string) => void) {
    this.#process = process
    guardChannel(process, forged)
    // No message is expected yet. Without a listener, messages would be buffered.
    process.on('message', () => forged('an unexpected message'))
  }

  /** How many sockets the worker has not taken yet. */
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

  /** Sockets that a worker should have taken long ago and will not get any longer. */
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
 * Passes only the expected receipts to Node's reader, byte for byte. Other bytes would cause an
 * uncaught error there, a socket that stays open, or growing memory. Node has no way to send a
 * socket to an untrusted process, so this replaces the reader itself. If it does not find the
 * reader, no worker is forked.
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
