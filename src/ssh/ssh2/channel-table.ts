import type { Log } from '../../log.ts'
import type { Reader } from '../wire.ts'
import { type Channel, type ChannelTransport, OpenChannel } from './channel.ts'
import { ChannelOpenRefused, ConnectionClosed, ProtocolBroken } from './errors.ts'
import {
  type ChannelTerms,
  encodeForChannel,
  encodeOpen,
  encodeOpenConfirmation,
  encodeOpenFailure,
  message,
  openFailure,
  readTerms,
} from './messages.ts'
import { areUsable, packetBytesMax } from './outgoing.ts'
import { receiveWindowBytes } from './receive-window.ts'

/** The other side asks for a channel: answer now or later. Only the first answer is sent. */
export interface ChannelOpen {
  readonly type: string
  readonly payload: Buffer
  /**
   * With a smaller window than usual where the rest is to be given later, by widen(). Behind another
   * answer, or behind the end of the connection, this gives a channel that has ended.
   */
  accept(windowBytes?: number): Channel
  /** With a reason of RFC 4254 section 5.1. Does nothing after another answer. */
  reject(reason: number, text: string): void
}

/** How much of a stranger's word for a type of channel a log line shows. */
const typeShown = 64

interface PendingOpen {
  readonly type: string
  /** Of the window that the other side is given. */
  readonly windowBytes: number
  resolve(channel: Channel): void
  reject(err: Error): void
}

/** A destination and where it comes from. An open may wait, and hundreds may: they must not fill the memory. */
const payloadBytesMax = 4096

/** The channels of a connection, and how they come to be: RFC 4254 section 5.1. */
export class ChannelTable {
  readonly #transport: ChannelTransport
  /** How many channels the other side may have open. */
  readonly #theirsMax: number
  readonly #channels = new Map<number, OpenChannel>()
  readonly #opening = new Map<number, PendingOpen>()
  /** Asked for by the other side and not answered. */
  #openRequests = 0
  readonly #theirs = new Set<OpenChannel>()
  readonly #log: Log
  #isOver = false

  constructor(transport: ChannelTransport, theirsMax: number, log: Log) {
    this.#transport = transport
    this.#theirsMax = theirsMax
    this.#log = log
  }

  /** Channels that are open or being opened, by either side. */
  get size(): number {
    return this.#channels.size + this.#opening.size + this.#openRequests
  }

  get(id: number): OpenChannel | undefined {
    return this.#channels.get(id)
  }

  /** Rejects with ChannelOpenRefused or ConnectionClosed. */
  open(type: string, payload: Buffer): Promise<Channel> {
    const { promise, resolve, reject } = Promise.withResolvers<Channel>()
    if (this.#isOver) reject(new ConnectionClosed())
    else {
      const id = this.#freeId()
      const windowBytes = this.#transport.shares.take(receiveWindowBytes)
      this.#opening.set(id, { type, windowBytes, resolve, reject })
      this.#transport.send(encodeOpen(type, ourTerms(id, windowBytes), payload))
    }
    return promise
  }

  /** The other side asks for a channel. */
  requested(reader: Reader, handler: ((open: ChannelOpen) => void) | undefined): void {
    const type = reader.string().toString('latin1')
    const terms = readTerms(reader)
    const payload = Buffer.from(reader.bytes(reader.left))
    let answered = false
    /** Whether it was sent. A second answer is a fault of ours, for which no connection should end. */
    const answer = (reply: Buffer): boolean => {
      if (answered) {
        this.#log.warn({ type: type.slice(0, typeShown) }, 'a channel open was answered twice')
        return false
      }
      answered = true
      this.#openRequests--
      if (!this.#isOver) this.#transport.send(reply)
      return !this.#isOver
    }
    const reject = (reason: number, text: string) => {
      answer(encodeOpenFailure(terms.sender, reason, text))
    }
    this.#openRequests++
    if (!areUsable(terms)) return reject(openFailure.connectFailed, 'packets too small')
    if (payload.length > payloadBytesMax) return reject(openFailure.connectFailed, 'too long')
    if (this.#theirs.size + this.#openRequests > this.#theirsMax) {
      return reject(openFailure.resourceShortage, 'too many channels on this connection')
    }
    if (handler === undefined) return reject(openFailure.administrativelyProhibited, '')
    handler({
      type,
      payload,
      reject,
      accept: (windowBytes = receiveWindowBytes) => {
        const id = this.#freeId()
        const bytes = this.#transport.shares.take(windowBytes)
        const window = { bytes, isWhole: windowBytes >= receiveWindowBytes }
        const channel = new OpenChannel(this.#transport, type, id, terms, window)
        if (answer(encodeOpenConfirmation(terms.sender, ourTerms(id, bytes)))) {
          this.#channels.set(id, channel)
          this.#theirs.add(channel)
        } else channel.died()
        return channel
      },
    })
  }

  /** The other side has opened a channel that we asked for. */
  confirmed(reader: Reader): void {
    const id = reader.u32()
    const pending = this.#opening.get(id)
    if (pending === undefined)
      throw new ProtocolBroken('the peer confirmed a channel that was not opened')
    const terms = readTerms(reader)
    this.#opening.delete(id)
    if (!areUsable(terms)) {
      this.#transport.shares.giveBack(pending.windowBytes)
      pending.reject(new ChannelOpenRefused(openFailure.connectFailed, 'packets too small'))
      this.#transport.send(encodeForChannel(message.channelClose, terms.sender))
      throw new ProtocolBroken('a channel was opened on unusable terms')
    }
    const window = { bytes: pending.windowBytes, isWhole: true }
    const channel = new OpenChannel(this.#transport, pending.type, id, terms, window)
    this.#channels.set(id, channel)
    pending.resolve(channel)
  }

  /** The other side does not open it. */
  refused(reader: Reader): void {
    const id = reader.u32()
    const pending = this.#opening.get(id)
    if (pending === undefined)
      throw new ProtocolBroken('the peer refused a channel that was not opened')
    this.#opening.delete(id)
    this.#transport.shares.giveBack(pending.windowBytes)
    const reason = reader.u32()
    const text = reader.left > 0 ? reader.string().toString('utf8').slice(0, 200) : ''
    pending.reject(new ChannelOpenRefused(reason, text))
  }

  /** Both sides have closed it. */
  forget(channel: OpenChannel): void {
    if (this.#channels.get(channel.localId) !== channel) return
    this.#channels.delete(channel.localId)
    this.#theirs.delete(channel)
  }

  /** The connection has gone. Gives the channels that are to hear of it. */
  end(error: Error | undefined): readonly OpenChannel[] {
    this.#isOver = true
    const channels = [...this.#channels.values()]
    const opening = [...this.#opening.values()]
    this.#channels.clear()
    this.#opening.clear()
    for (const { windowBytes, reject } of opening) {
      this.#transport.shares.giveBack(windowBytes)
      reject(new ConnectionClosed(error))
    }
    return channels
  }

  #freeId(): number {
    let id = 0
    while (this.#channels.has(id) || this.#opening.has(id)) id++
    return id
  }
}

function ourTerms(sender: number, window: number): ChannelTerms {
  return { sender, window, packetMax: packetBytesMax }
}
