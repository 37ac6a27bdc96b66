import type { Duplex } from 'node:stream'
import type { Protocol } from 'ssh2'
import { background, type Log } from '../../log.ts'
import { Reader, WireError } from '../wire.ts'
import type { Channel, ChannelTransport, OpenChannel } from './channel.ts'
import { type ChannelOpen, ChannelTable } from './channel-table.ts'
import { ConnectionClosed, ProtocolBroken } from './errors.ts'
import { type GlobalRequest, GlobalRequests } from './global-requests.ts'
import { KeyExchanges, type RekeyLimits, rekeyLimits } from './key-exchanges.ts'
import { disconnectReason, encodeDisconnect, encodeIgnore, message } from './messages.ts'
import type { OutgoingQueue } from './outgoing.ts'
import type { WindowBudget, WindowShares } from './receive-window.ts'
import { readMemoryOf } from './sockets.ts'
import { TornPacket } from './torn-packet.ts'
import { Unsent } from './unsent.ts'
import { type Receiving, WindowGrowth } from './window-growth.ts'

/** A connection after its login, of either role: RFC 4254. */
export interface Connection {
  /** The other side's identification, as it sent it. */
  readonly peerIdent: string
  /** The IP address of the other side, where the connection has one of its own. */
  readonly peerAddress: string | undefined
  readonly bytes: { readonly in: number; readonly out: number }
  /** How many channels are open or being opened. */
  readonly channels: number
  /** Settles once, after every channel was told. An error when it did not end on purpose. */
  readonly done: Promise<{ readonly error?: Error }>
  /** Without a handler every channel is refused. */
  onChannelOpen: ((open: ChannelOpen) => void) | undefined
  /** Without a handler every request is refused. */
  onGlobalRequest: ((request: GlobalRequest) => void) | undefined
  /** Rejects with ChannelOpenRefused or ConnectionClosed. */
  openChannel(type: string, payload: Buffer): Promise<Channel>
  /** The reply's payload, or false when refused. */
  globalRequest(name: string, payload: Buffer, wantReply: boolean): Promise<Buffer | false>
  /** Says why, and ends the connection. */
  disconnect(reason: number, text: string): void
  destroy(): void
}

export interface ConnectionOptions {
  readonly protocol: Protocol
  readonly socket: Duplex
  readonly peerIdent: string
  /** How many channels the other side may have open. */
  readonly channelsMax: number
  /** Other limits than the usual ones. */
  readonly rekey?: Partial<RekeyLimits> | undefined
  /** Answers a request that is not for the handler: true when it did. */
  readonly answer?: (request: GlobalRequest) => boolean
  readonly keepalive?: Keepalive
  readonly log: Log
}

/** When a silent peer is asked for a sign of life, and when it counts as gone. */
export interface Keepalive {
  /** 0 for never. */
  readonly intervalMs: number
  /** Intervals without a packet after which the connection ends; 0 for never. */
  readonly countMax: number
}

/** A laptop that sleeps, or a device that ignores keepalives, keeps its sessions for 15 minutes. */
const keepaliveByDefault: Keepalive = { intervalMs: 60_000, countMax: 15 }
/**
 * Packets of a peer that has logged in. OpenSSH takes 256 KiB and breaks the connection for larger
 * ones. Here a command that is too long gets an error of its own, so it must be read first.
 */
const packetBytesMax = 1024 * 1024
/**
 * A peer that does not read and keeps sending requests is cut off before its replies fill the
 * memory.
 */
const unsentBytesMax = 8 * 1024 * 1024
/**
 * Only replies and credit wait for the end of a key exchange; a peer with more of them waiting is
 * cut off.
 */
const heldBytesMax = 2 * 1024 * 1024
const endMs = 500

/** Our own layer of channels on the transport of ssh2, which hands us every message from 80 up. */
export class SshConnection implements Connection, ChannelTransport {
  readonly peerIdent: string
  readonly peerAddress: string | undefined
  readonly done: Promise<{ readonly error?: Error }>
  onChannelOpen: ((open: ChannelOpen) => void) | undefined
  onGlobalRequest: ((request: GlobalRequest) => void) | undefined
  readonly #protocol: Protocol
  readonly #socket: Duplex
  readonly #log: Log
  /** A message of the connection protocol has come: the login, whose buffers are kept, is over. */
  #ready = false
  readonly #channels: ChannelTable
  /** Channels with something to send, each waiting for its turn. */
  readonly #waiting = new Set<OutgoingQueue>()
  readonly #requests: GlobalRequests
  readonly #exchanges: KeyExchanges
  readonly #torn: TornPacket
  readonly #unsent: Unsent
  readonly #growth = new WindowGrowth(() => this.#askForLife())
  /** The bytes that ssh2 keeps until the keys are exchanged. */
  #heldBytes = 0
  readonly #settle: (ending: { error?: Error }) => void
  readonly #keepaliveTimer: NodeJS.Timeout | undefined
  readonly #keepalive: Keepalive
  /** Intervals in which no packet came. */
  #silentFor = 0
  #lastPacket = -1
  /** The keepalive that is not answered yet. */
  #asking: Promise<unknown> | undefined
  #started = false
  #corked = false
  #draining = false
  #dead = false

  constructor(options: ConnectionOptions) {
    const { protocol, socket, peerIdent, channelsMax, rekey, answer, log } = options
    this.#protocol = protocol
    this.#socket = socket
    this.peerIdent = peerIdent
    // Read once: a socket that was reset has no address any longer.
    const { remoteAddress } = Object(socket)
    this.peerAddress = typeof remoteAddress === 'string' ? remoteAddress : undefined
    this.#channels = new ChannelTable(this, channelsMax, log)
    this.#log = log
    const { promise, resolve } = Promise.withResolvers<{ error?: Error }>()
    this.done = promise
    this.#settle = resolve
    this.#requests = new GlobalRequests({
      send: (payload) => this.send(payload),
      nextPacketNumber: () => protocol.nextPacketNumber,
      handler: (request) => {
        if (answer?.(request) === true) return
        if (this.onGlobalRequest === undefined) request.reply(false)
        else this.onGlobalRequest(request)
      },
    })
    this.#exchanges = new KeyExchanges({
      limits: { ...rekeyLimits, ...rekey },
      start: () => protocol.rekey(),
      stalled: () => this.#cut('a peer does not finish a key exchange'),
      tooMany: (waitMs) => this.#rest(waitMs),
    })
    protocol.takeConnection(
      (payload) => this.#received(payload),
      () => this.#exchanges.begun(),
      (packetNumber) => this.#requests.unimplemented(packetNumber),
    )
    this.#unsent = new Unsent(socket, () => this.resume())
    socket.on('drain', () => {
      this.#unsent.drained()
      this.resume()
    })
    socket.once('close', () => this.died())
    const memory = readMemoryOf(socket)
    if (memory !== undefined) memory.isHeld = (held) => !this.#ready || protocol.holds(held)
    this.#torn = new TornPacket(
      () => memory?.user() ?? '',
      () => this.#cut('a peer does not finish a large packet'),
    )
    // The transport has listened before us: it has had this chunk. A login has its own limits.
    socket.on('data', () => {
      if (this.#started && !this.#dead) this.#torn.keeps(protocol._decipher?._packet?.length ?? 0)
    })
    this.#keepalive = options.keepalive ?? keepaliveByDefault
    const { intervalMs } = this.#keepalive
    if (intervalMs > 0) {
      this.#keepaliveTimer = setInterval(() => this.#tick(), intervalMs)
      this.#keepaliveTimer.unref()
    }
  }

  get bytes(): { readonly in: number; readonly out: number } {
    const { bytesRead = 0, bytesWritten = 0 } = Object(this.#socket)
    return { in: Number(bytesRead), out: Number(bytesWritten) }
  }

  get channels(): number {
    return this.#channels.size
  }

  get ready(): boolean {
    const isFull = this.#socket.writableNeedDrain || this.#unsent.isTooMuch
    return !this.#dead && !isFull && !this.#protocol.exchangingKeys
  }

  openChannel(type: string, payload: Buffer): Promise<Channel> {
    return this.#channels.open(type, payload)
  }

  globalRequest(name: string, payload: Buffer, wantReply: boolean): Promise<Buffer | false> {
    return this.#dead ? Promise.resolve(false) : this.#requests.ask(name, payload, wantReply)
  }

  disconnect(reason: number, text: string): void {
    this.#leave(reason, text)
  }

  destroy(): void {
    this.died()
    this.#socket.destroy()
  }

  /** The login is done: from now on a silent peer is asked for a sign of life. */
  start(): void {
    this.#started = true
    this.#protocol.admitPackets(packetBytesMax)
    this.#exchanges.start()
  }

  /** Keys were exchanged. */
  exchanged(): void {
    this.#heldBytes = 0
    this.#exchanges.finished()
    this.resume()
  }

  /** Keys were exchanged, or the socket is empty again: waiting channels get their turn. */
  resume(): void {
    if (this.#draining) return
    this.#draining = true
    try {
      while (this.ready) {
        const [next] = this.#waiting
        if (next === undefined) break
        this.#waiting.delete(next)
        // Waiting senders get the error there.
        this.#guard(() => next.flush())
      }
    } finally {
      this.#draining = false
    }
  }

  /** The connection has ended, from either side. */
  died(error?: Error): void {
    if (this.#dead) return
    this.#dead = true
    clearInterval(this.#keepaliveTimer)
    this.#exchanges.end()
    this.#torn.end()
    this.#waiting.clear()
    const channels = this.#channels.end(error)
    for (const channel of channels) this.#guard(() => channel.died())
    this.#requests.died()
    this.#settle(error === undefined ? {} : { error })
  }

  // The transport for channels.

  wait(queue: OutgoingQueue): void {
    this.#waiting.add(queue)
    // Its turn is over, but the socket takes more: the next turn comes once the others had theirs.
    if (this.ready && !this.#draining) queueMicrotask(() => this.resume())
  }

  send(payload: Buffer): void {
    if (this.#protocol.exchangingKeys) this.#heldBytes += payload.length
    const isFew = this.#unsent.message()
    this.#write(() => this.#protocol.sendPayload(payload), payload.length)
    const isLong = this.#socket.writableLength > unsentBytesMax
    if (!isFew || isLong || this.#heldBytes > heldBytesMax) {
      this.#cut('a peer reads nothing and keeps sending requests')
    }
  }

  sendData(recipient: number, chunk: Buffer): void {
    this.#write(() => this.#protocol.channelData(recipient, chunk), chunk.length)
  }

  sendExtendedData(recipient: number, chunk: Buffer, kind: number): void {
    this.#write(() => this.#protocol.channelExtData(recipient, chunk, kind), chunk.length)
  }

  get windows(): WindowBudget {
    return this.#growth.budget
  }

  get shares(): WindowShares {
    return this.#growth.shares
  }

  came(channel: Receiving, bytes: number): void {
    this.#growth.came(channel, bytes)
  }

  forget(channel: OpenChannel): void {
    this.#channels.forget(channel)
    this.#waiting.delete(channel.outgoing)
  }

  /** Whatever is sent in one turn of the event loop leaves in one write. */
  #write(write: () => void, bytes = 0): void {
    if (this.#dead || !this.#socket.writable) return
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      process.nextTick(() => {
        this.#corked = false
        this.#socket.uncork()
        this.#unsent.count()
      })
    }
    try {
      write()
      this.#exchanges.moved(bytes)
    } catch (err) {
      // ssh2 throws when its transport has been torn down under us.
      this.died(err instanceof Error ? err : undefined)
      this.#socket.destroy()
    }
  }

  #received(payload: Buffer): void {
    if (this.#dead) return
    this.#ready = true
    this.#exchanges.moved(payload.length)
    this.#guard(() => this.#dispatch(payload))
  }

  /** A handler that throws must not leave the connection half dead, or take the process along. */
  #guard(act: () => void): void {
    try {
      act()
    } catch (err) {
      const known = err instanceof WireError || err instanceof ProtocolBroken
      if (known) this.#log.info({ err }, 'a peer broke the protocol')
      else this.#log.error({ err }, 'a channel handler failed')
      if (this.#dead) return
      const text = known ? err.message : 'internal error'
      this.#leave(disconnectReason.protocolError, text, err instanceof Error ? err : undefined)
    }
  }

  #dispatch(payload: Buffer): void {
    const number = payload[0] ?? 0
    const reader = new Reader(payload)
    reader.u8()
    switch (number) {
      case message.globalRequest:
        return this.#requests.received(reader)
      case message.requestSuccess:
        return this.#requests.answered(Buffer.from(reader.bytes(reader.left)))
      case message.requestFailure:
        return this.#requests.answered(false)
      case message.channelOpen:
        return this.#channels.requested(reader, this.onChannelOpen)
      case message.channelOpenConfirmation:
        return this.#channels.confirmed(reader)
      case message.channelOpenFailure:
        return this.#channels.refused(reader)
    }
    const channel = this.#channels.get(reader.u32())
    if (channel !== undefined) return channel.received(number, reader)
    throw new ProtocolBroken('a message came for a channel that is not open')
  }

  #tick(): void {
    // Before the end of the login a keepalive is a fault; a login has its own time limit.
    if (!this.#started) return
    const { packetNumber } = this.#protocol
    // Any packet is a sign of life: an answer, a refusal, a keepalive of the peer's own, new keys.
    if (packetNumber !== this.#lastPacket) this.#silentFor = 0
    else this.#silentFor++
    this.#lastPacket = packetNumber
    const { countMax } = this.#keepalive
    if (countMax > 0 && this.#silentFor >= countMax) {
      this.#log.info({ intervals: this.#silentFor }, 'a peer was silent for too long')
      this.died(new ConnectionClosed(new Error('the peer was silent for too long')))
      this.#socket.destroy()
      return
    }
    // A peer that does not answer is not asked again, but the path to it is kept open.
    if (this.#asking === undefined) background(this.#askForLife(), this.#log, 'a keepalive')
    else this.send(encodeIgnore())
  }

  /** Asks once at a time: a peer that ignores it would owe us more and more answers. */
  #askForLife(): Promise<unknown> {
    this.#asking ??= this.globalRequest('keepalive@openssh.com', Buffer.alloc(0), true).finally(
      () => {
        this.#asking = undefined
      },
    )
    return this.#asking
  }

  /** No message can reach a peer that does not read. */
  #cut(why: string): void {
    if (this.#dead) return
    this.#log.warn(`${why}; its connection is closed`)
    this.died(new ProtocolBroken('the other side does not read'))
    this.#socket.destroy()
  }

  /** Reads nothing for a while. */
  #rest(ms: number): void {
    if (this.#dead) return
    this.#socket.pause()
    setTimeout(() => this.#socket.resume(), ms)
  }

  /** Says why, and ends the socket once that has left, or not later than a moment from now. */
  #leave(reason: number, text: string, error?: Error): void {
    if (this.#dead) return
    this.#write(() => this.#protocol.sendPayload(encodeDisconnect(reason, text), true))
    this.died(error)
    this.#socket.end()
    setTimeout(() => this.#socket.destroy(), endMs).unref()
  }
}
