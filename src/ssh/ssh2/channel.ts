import type { Reader } from '../wire.ts'
import type { ChannelHandlers, ChannelRequest } from './channel-handlers.ts'
import { ProtocolBroken } from './errors.ts'
import { HeldEvents } from './held-events.ts'
import {
  type ChannelTerms,
  encodeChannelRequest,
  encodeForChannel,
  encodeWindowAdjust,
  message,
  readRequest,
} from './messages.ts'
import { OutgoingQueue, type OutgoingTransport, type Queued } from './outgoing.ts'
import { handOut, letGo } from './read-memory.ts'
import { ReceiveWindow, type WindowBudget, type WindowShares } from './receive-window.ts'
import type { Receiving } from './window-growth.ts'

/** One channel: RFC 4254 section 5. */
export interface Channel {
  readonly type: string
  readonly closed: boolean
  /** Until then events are held, bounded in bytes, and then reported in order; small data is joined. */
  handle(handlers: ChannelHandlers): void
  /**
   * Sends under the other side's window and as fast as the socket takes it. `sent` runs as the
   * socket gets the bytes, or never will get them: once or several times, until it was called for all.
   * Small chunks that wait are joined where they have the same function. The chunk is no longer the
   * caller's: its memory may be reused once it has left.
   */
  write(chunk: Buffer, sent: (bytes: number) => void): void
  writeExtended(kind: number, chunk: Buffer, sent: (bytes: number) => void): void
  /** Gives that much of the receive window back. It says of no memory that it may be reused. */
  consumed(bytes: number): void
  /** Nobody looks into this received chunk any more, and it is not written on: its memory may be reused. */
  letGo(chunk: Buffer): void
  /** The same of one that was not kept at all: its part of the window is given back, too. */
  drop(chunk: Buffer): void
  /** Gives the other side more to send than it was given with the channel, where there is room for it. */
  widen(bytes: number): void
  /**
   * Sent after the data that was written before. False when refused, or when the channel has
   * closed.
   */
  request(name: string, payload: Buffer, wantReply: boolean): Promise<boolean>
  /**
   * Sent after the data that was written before. A second one, and one after our close, does
   * nothing.
   */
  eof(): void
  /**
   * Sent after the data that was written before. Does nothing on a channel that is closing already.
   */
  close(): void
  /** Drops unsent data, and closes at once. Does nothing once our close has left. */
  abort(): void
}

/** The parts of its connection that a channel needs. */
export interface ChannelTransport extends OutgoingTransport {
  /** The shared budget for the growth of its channels' windows. */
  readonly windows: WindowBudget
  /** What they have before that. */
  readonly shares: WindowShares
  /** So many bytes came on a channel. */
  came(channel: Receiving, bytes: number): void
  /** Both sides have closed. */
  forget(channel: OpenChannel): void
}

/** How many requests may be unanswered, or held before a handler is set. */
const requestsMax = 128
/** RFC 4250 section 4.6.1: nobody knows a longer name, and it would be kept while its request waits. */
const nameBytesMax = 64

/** The last field of a message: bytes behind it would be kept with it, and count in no window. */
function last<T>(reader: Reader, value: T): T {
  reader.end()
  return value
}

/** A channel that both sides have agreed on; the connection hands it its messages. */
export class OpenChannel implements Channel, Receiving {
  readonly type: string
  readonly window: ReceiveWindow
  readonly localId: number
  readonly outgoing: OutgoingQueue
  readonly #transport: ChannelTransport
  readonly #remoteId: number
  #handlers: ChannelHandlers | undefined
  readonly #held = new HeldEvents()
  #heldRequests = 0
  /** The other side's requests whose reply is still due, in order. */
  #replies: { success: boolean | undefined }[] = []
  /** Our requests that they have not answered, in order. */
  #asked: ((success: boolean) => void)[] = []
  #eofSent = false
  #eofSeen = false
  /** CLOSE is queued: no message of ours comes after it. */
  #closing = false
  #closeSent = false
  #closeSeen = false
  /** They have closed, and we may still say how it ended. */
  #lingers = false
  #aborted = false
  #over = false

  constructor(
    transport: ChannelTransport,
    type: string,
    localId: number,
    remote: ChannelTerms,
    window: { readonly bytes: number; readonly isWhole: boolean },
  ) {
    this.#transport = transport
    const { windows, shares } = transport
    this.window = new ReceiveWindow(window.bytes, windows, { isWhole: window.isWhole, shares })
    this.type = type
    this.localId = localId
    this.#remoteId = remote.sender
    this.outgoing = new OutgoingQueue(transport, remote)
  }

  get closed(): boolean {
    return this.#over || this.#closeSeen
  }

  handle(handlers: ChannelHandlers): void {
    if (this.#handlers !== undefined) throw new Error('this channel already has handlers')
    this.#heldRequests = 0
    this.#handlers = handlers
    this.#held.tell(handlers)
  }

  write(chunk: Buffer, sent: (bytes: number) => void): void {
    this.#send({ what: 'data', chunk, kind: 0, sent })
  }

  writeExtended(kind: number, chunk: Buffer, sent: (bytes: number) => void): void {
    this.#send({ what: 'data', chunk, kind, sent })
  }

  consumed(bytes: number): void {
    if (this.#over || this.#closeSeen || this.#closeSent) return
    const credit = this.window.consumed(bytes)
    if (credit > 0) this.#transport.send(encodeWindowAdjust(this.#remoteId, credit))
  }

  letGo(chunk: Buffer): void {
    letGo(chunk)
  }

  drop(chunk: Buffer): void {
    letGo(chunk)
    this.consumed(chunk.length)
  }

  readonly credit = (): void => this.consumed(0)

  widen(bytes: number): void {
    if (this.#over || this.#closeSeen || this.#closeSent) return
    const more = this.window.widen(bytes)
    if (more > 0) this.#transport.send(encodeWindowAdjust(this.#remoteId, more))
  }

  request(name: string, payload: Buffer, wantReply: boolean): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    if (this.#isDone()) resolve(false)
    else {
      const encoded = encodeChannelRequest(this.#remoteId, name, wantReply, payload)
      // Of sizes that wait behind one another only the last one counts.
      if (name === 'window-change' && this.outgoing.replaceLast(name, encoded)) {
        resolve(true)
        return promise
      }
      this.#send({
        what: 'message',
        name,
        payload: encoded,
        after: (left) => {
          if (left && wantReply) this.#asked.push(resolve)
          else resolve(left)
        },
      })
    }
    return promise
  }

  eof(): void {
    if (this.#eofSent || this.#isDone()) return
    this.#eofSent = true
    this.#send({
      what: 'message',
      name: 'eof',
      payload: encodeForChannel(message.channelEof, this.#remoteId),
    })
  }

  close(): void {
    if (this.#isDone()) return
    this.#closing = true
    this.outgoing.push({
      what: 'message',
      name: 'close',
      payload: encodeForChannel(message.channelClose, this.#remoteId),
      after: (left) => {
        if (left) this.#closeWent()
      },
    })
    this.outgoing.flush()
  }

  abort(): void {
    if (this.#over || this.#closeSent) return
    this.#drop()
    this.#closing = true
    this.#aborted = true
    this.#transport.send(encodeForChannel(message.channelClose, this.#remoteId))
    this.#closeWent()
  }

  /** A message of the other side's for this channel; the reader is behind the channel's number. */
  received(number: number, reader: Reader): void {
    if (this.#closeSeen) throw new ProtocolBroken('a message came after the close of its channel')
    switch (number) {
      case message.channelWindowAdjust:
        return this.outgoing.widen(last(reader, reader.u32()))
      case message.channelData:
        return this.#dataCame(last(reader, reader.string()), 0)
      case message.channelExtendedData: {
        const kind = reader.u32()
        return this.#dataCame(last(reader, reader.string()), kind)
      }
      case message.channelEof:
        reader.end()
        if (this.#eofSeen) return
        this.#eofSeen = true
        return this.#tell((handlers) => handlers.eof())
      case message.channelClose:
        reader.end()
        return this.#closeCame()
      case message.channelRequest:
        return this.#requestCame(reader)
      case message.channelSuccess:
        reader.end()
        return this.#asked.shift()?.(true)
      case message.channelFailure:
        reader.end()
        return this.#asked.shift()?.(false)
      default:
        throw new ProtocolBroken(`${number} is not the number of a channel message`)
    }
  }

  /** The connection has gone. */
  died(): void {
    if (this.#over) return
    this.#over = true
    this.window.end()
    this.#drop()
    const lost = this.#closeSeen ? undefined : 'lost'
    this.#tell((handlers) => handlers.close(lost))
  }

  #isDone(): boolean {
    return this.#over || this.#closing || (this.#closeSeen && !this.#lingers)
  }

  #send(item: Queued): void {
    if (this.#isDone() || (item.what === 'data' && (this.#eofSent || this.#closeSeen))) {
      // The sender counts on this credit, so it must get it.
      if (item.what !== 'data') return item.after?.(false)
      letGo(item.chunk)
      return item.sent(item.chunk.length)
    }
    this.outgoing.push(item)
    if (this.outgoing.size === 1) this.outgoing.flush()
    // The other side sends requests and does not read the replies.
    if (this.outgoing.isOverfull) this.abort()
  }

  #dataCame(chunk: Buffer, kind: number): void {
    if (!this.window.take(chunk.length)) {
      throw new ProtocolBroken('more data came than the window allows')
    }
    if (this.#eofSeen) throw new ProtocolBroken('data came after the end of its channel')
    // Data that crosses our CLOSE on its way is ignored.
    if (this.#closeSent || chunk.length === 0) return
    this.#transport.came(this, chunk.length)
    const data = handOut(chunk)
    if (this.#handlers === undefined) this.#held.data(data, kind)
    else if (kind === 0) this.#handlers.data(data)
    else this.#handlers.extendedData(kind, data)
  }

  #requestCame(reader: Reader): void {
    const { name, wantReply, payload } = readRequest(reader)
    // How it ended may cross our close on its way.
    if (this.#aborted) return
    if (this.#replies.length >= requestsMax || this.#heldRequests >= requestsMax) {
      throw new ProtocolBroken('too many requests without a reply')
    }
    const slot: { success: boolean | undefined } = { success: undefined }
    if (wantReply) this.#replies.push(slot)
    const request: ChannelRequest = {
      name,
      // A request may be kept for long, and its payload would keep all that came with it.
      payload: Buffer.from(payload),
      wantReply,
      reply: (success) => {
        if (!wantReply || slot.success !== undefined) return
        slot.success = success
        this.#sendReplies()
      },
    }
    if (name.length > nameBytesMax) return request.reply(false)
    if (this.#handlers !== undefined) return this.#handlers.request(request)
    this.#heldRequests++
    this.#held.request(name.length + payload.length, (handlers) => handlers.request(request))
  }

  #sendReplies(): void {
    for (;;) {
      const success = this.#replies[0]?.success
      if (success === undefined) return
      this.#replies.shift()
      if (this.#over || this.#closeSeen || this.#closeSent) continue
      const number = success ? message.channelSuccess : message.channelFailure
      this.#transport.send(encodeForChannel(number, this.#remoteId))
    }
  }

  #closeCame(): void {
    this.#closeSeen = true
    const { leaving } = this.#handlers ?? {}
    if (leaving !== undefined && !this.#closeSent) {
      this.#lingers = true
      this.#dropData()
      return leaving()
    }
    this.#drop()
    // Our close may have been waiting after the dropped data: it is still due.
    if (!this.#closeSent) {
      this.#closeSent = true
      this.#transport.send(encodeForChannel(message.channelClose, this.#remoteId))
    }
    this.#end()
  }

  #closeWent(): void {
    this.#closeSent = true
    if (this.#closeSeen) this.#end()
  }

  #end(): void {
    if (this.#over) return
    this.#over = true
    this.window.end()
    this.#transport.forget(this)
    this.#tell((handlers) => handlers.close())
  }

  /** Drops queued data; keeps queued messages. */
  #dropData(): void {
    for (const answer of this.#asked.splice(0)) answer(false)
    this.outgoing.dropData()
    this.outgoing.flush()
  }

  /** Drops unsent items, and tells their waiters. */
  #drop(): void {
    const asked = this.#asked
    this.#asked = []
    this.outgoing.drop()
    for (const answer of asked) answer(false)
  }

  #tell(tell: (handlers: ChannelHandlers) => void): void {
    if (this.#handlers === undefined) this.#held.event(tell)
    else tell(this.#handlers)
  }
}
