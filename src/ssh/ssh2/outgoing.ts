import { smallBytes } from '../../chunks.ts'
import { Fifo } from '../../fifo.ts'
import { ProtocolBroken } from './errors.ts'
import type { ChannelTerms } from './messages.ts'
import { letGo } from './read-memory.ts'
import { SmallPieces } from './small-pieces.ts'

/** The largest piece of data that we take, and the largest that we send. */
export const packetBytesMax = 32 * 1024
/**
 * With a smaller limit a peer could make each byte cost a packet, and with 0 no byte would ever
 * leave.
 */
const packetBytesMin = 256
/** The number of bytes that one channel sends before the others get their turn. */
const turnBytes = 2 * packetBytesMax
const windowBytesMax = 0xffff_ffff
/**
 * Windows bound bytes. These limits bound the cost of few bytes: pieces, and requests. Small pieces are
 * joined, and only each change between the two kinds of data counts.
 */
const piecesMax = 65_536
const messagesMax = 128
/** An exec may be as long as the largest packet of OpenSSH, with an environment in front of it. */
const messageBytesMax = 1024 * 1024

/** The parts of the connection that a channel's queue needs. */
export interface OutgoingTransport {
  /** False while the socket is full or keys are exchanged: then wait() leads to flush(). */
  readonly ready: boolean
  wait(queue: OutgoingQueue): void
  send(payload: Buffer): void
  sendData(recipient: number, chunk: Buffer): void
  sendExtendedData(recipient: number, chunk: Buffer, kind: number): void
}

/** One thing that a channel sends: data of a stream, or a message. */
export type Queued =
  | {
      readonly what: 'data'
      /** What is left of it. */
      chunk: Buffer
      kind: number
      /** Called as bytes of it leave or are dropped, until all are; for an empty chunk with 0. */
      readonly sent: (bytes: number) => void
      /** As it was given: let go once all of it has left, or was dropped. */
      whole?: Buffer
      /** Small pieces behind it, with the same function. */
      more?: SmallPieces
    }
  | {
      readonly what: 'message'
      readonly name: string
      payload: Buffer
      /** Runs once it has left, or with false once it never will. */
      readonly after?: (left: boolean) => void
    }

/** Whether a channel on such terms could move a byte. */
export function areUsable(terms: ChannelTerms): boolean {
  return terms.packetMax >= packetBytesMin
}

/**
 * The outgoing data of a channel, in order, within the other side's window: RFC 4254 section 5.2.
 */
export class OutgoingQueue {
  readonly #transport: OutgoingTransport
  readonly #remoteId: number
  readonly #packetMax: number
  #window: number
  readonly #queue = new Fifo<Queued>()
  #runs = 0
  #messages = 0
  #messageBytes = 0

  constructor(transport: OutgoingTransport, remote: ChannelTerms) {
    this.#transport = transport
    this.#remoteId = remote.sender
    this.#window = remote.window
    this.#packetMax = Math.min(remote.packetMax, packetBytesMax)
  }

  get size(): number {
    return this.#queue.size
  }

  /** More waits than an honest sender would have wait. */
  get isOverfull(): boolean {
    return (
      this.#queue.size + this.#runs > piecesMax ||
      this.#messages > messagesMax ||
      this.#messageBytes > messageBytesMax
    )
  }

  /** Queues an item. Does not send it yet. */
  push(item: Queued): void {
    if (item.what === 'data' && this.#join(item)) return
    this.#queue.push(item)
    if (item.what === 'data') {
      item.whole = item.chunk
      return
    }
    this.#messages++
    this.#messageBytes += item.payload.length
  }

  /** Gives the last item another payload, when it is a message of this name. False when it is not. */
  replaceLast(name: string, payload: Buffer): boolean {
    const last = this.#queue.last
    if (last?.what !== 'message' || last.name !== name) return false
    last.payload = payload
    return true
  }

  /**
   * The other side accepts that many further bytes. Throws ProtocolBroken beyond the limit of a
   * window.
   */
  widen(bytes: number): void {
    this.#window += bytes
    if (this.#window > windowBytesMax) throw new ProtocolBroken('a window grew beyond its limit')
    this.flush()
  }

  /**
   * Sends as much as is allowed now, at most one turn's worth. Asks for another turn if more is
   * left.
   */
  flush(): void {
    let budget = turnBytes
    for (;;) {
      const next = this.#queue.first
      if (next === undefined) return
      if (!this.#transport.ready || budget <= 0) return this.#transport.wait(this)
      if (next.what === 'message') {
        this.#queue.shift()
        this.#messages--
        this.#messageBytes -= next.payload.length
        this.#transport.send(next.payload)
        next.after?.(true)
        continue
      }
      const bytes = Math.min(next.chunk.length, this.#window, this.#packetMax)
      // Without window, only the other side's next adjustment helps.
      if (bytes === 0 && next.chunk.length > 0) return
      const whole = bytes === next.chunk.length
      if (bytes > 0) {
        const part = whole ? next.chunk : next.chunk.subarray(0, bytes)
        this.#window -= bytes
        budget -= bytes
        if (next.kind === 0) this.#transport.sendData(this.#remoteId, part)
        else this.#transport.sendExtendedData(this.#remoteId, part, next.kind)
      }
      next.chunk = next.chunk.subarray(bytes)
      if (whole) this.#advance(next)
      next.sent(bytes)
    }
  }

  /** Drops the data, and keeps the messages. */
  dropData(): void {
    for (const item of this.#queue.drain()) {
      if (item.what === 'data') dropped(item)
      else this.#queue.push(item)
    }
    this.#runs = 0
  }

  /** Drops all items, and tells their waiters. */
  drop(): void {
    const queue = this.#queue.drain()
    this.#messages = 0
    this.#messageBytes = 0
    this.#runs = 0
    for (const item of queue) {
      if (item.what === 'data') dropped(item)
      else item.after?.(false)
    }
  }

  /** Puts a small piece to the last data, where that has the same owner. */
  #join({ chunk, kind, sent }: Data): boolean {
    const last = this.#queue.last
    if (last?.what !== 'data' || last.sent !== sent || chunk.length >= smallBytes) return false
    if (chunk.length === 0 || (kind !== 0 && kind !== 1)) return false
    last.more ??= new SmallPieces()
    this.#runs -= last.more.runs
    last.more.add(chunk, kind)
    this.#runs += last.more.runs
    return true
  }

  /** The chunk has left: the next run of small pieces is in its place, or the item is done. */
  #advance(item: Data): void {
    if (item.whole !== undefined) letGo(item.whole)
    const run = item.more?.take()
    if (run === undefined) {
      this.#queue.shift()
      return
    }
    this.#runs--
    item.chunk = run.chunk
    item.kind = run.kind
  }
}

type Data = Extract<Queued, { what: 'data' }>

function dropped({ whole, chunk, more, sent }: Data): void {
  if (whole !== undefined) letGo(whole)
  sent(chunk.length + (more?.bytes ?? 0))
}
