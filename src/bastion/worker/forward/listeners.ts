import {
  type ChannelOpen,
  type Connection,
  type GlobalRequest,
  Reader,
  WireError,
  Writer,
} from '../../../ssh/index.ts'
import type { ForwardRequest } from '../../wire/calls.ts'
import { checkedPath, isListenHost } from '../../wire/destination.ts'
import { TooManyForwards } from '../../wire/errors.ts'
import { ForwardEnded, Refused } from '../errors.ts'
import { inTime } from '../session/target-start.ts'
import type { ForwardContext } from './forward-context.ts'
import type { ForwardSession } from './forward-session.ts'

/** An address on a target at which connections are accepted for the client: RFC 4254 section 7.1. */
export interface Listener {
  readonly session: ForwardSession
  readonly name: string
  /** As the target reports it with each connection. */
  readonly address: string
  readonly port: number
}

/** The listeners that a client has on its targets (`ssh -R`). */
export class Listeners {
  readonly #context: Pick<ForwardContext, 'deps' | 'connection'>
  #listeners: readonly Listener[] = []
  /** Listeners that are being asked for. */
  #listening = 0

  constructor(context: Pick<ForwardContext, 'deps' | 'connection'>) {
    this.#context = context
  }

  /** Asks the target to listen. Resolves with the answer for the client. */
  async listen(
    { name, payload }: GlobalRequest,
    findSession: () => Promise<ForwardSession>,
  ): Promise<[boolean, Buffer?]> {
    const { address, port } = readListen(name, payload)
    const listenersMax = this.#context.deps.limits.listenersPerConnectionMax
    // Counted before the first await, because many may be requested at once.
    if (this.#listeners.length + this.#listening >= listenersMax) throw new TooManyForwards()
    this.#listening++
    try {
      return await this.#listenAt(await findSession(), { name, address, port })
    } finally {
      this.#listening--
    }
  }

  /** Asks the target to stop listening. Resolves with the answer for the client. */
  async stop({ name, payload }: GlobalRequest): Promise<[boolean]> {
    const { address, port } = readListen(name, payload)
    const listener = this.#listeners.find(
      (one) => one.name === kindOf(name) && one.address === address && one.port === port,
    )
    if (listener === undefined) return [false]
    this.#listeners = this.#listeners.filter((one) => one !== listener)
    const place = placeOf(listener)
    return [(await inTime(listener.session.upstream.globalRequest(name, place, true))) !== false]
  }

  /** A session is over: its target is asked to stop listening for it. */
  drop(session: ForwardSession): void {
    for (const listener of this.#listeners) if (listener.session === session) unlisten(listener)
    this.#listeners = this.#listeners.filter((one) => one.session !== session)
  }

  /** The listener at which a target accepted a connection, if the client asked for it. */
  find(upstream: Connection, { type, payload }: ChannelOpen): Listener | undefined {
    const local = type === 'forwarded-streamlocal@openssh.com'
    if (!local && type !== 'forwarded-tcpip') return undefined
    const reader = new Reader(payload)
    const address = reader.text()
    const port = local ? 0 : reader.u32()
    return this.#listeners.find(
      (one) =>
        one.session.upstream === upstream &&
        one.name === (local ? 'streamlocal' : 'tcpip') &&
        one.address === address &&
        one.port === port,
    )
  }

  async #listenAt(
    session: ForwardSession,
    asked: {
      readonly name: string
      readonly address: string
      readonly port: number
    },
  ): Promise<[boolean, Buffer?]> {
    const { name, address, port } = asked
    const { deps, connection } = this.#context
    const listener = listenerOf(session, name, address, port)
    const request = remoteForward(listener)
    const answer = await deps.broker.openForward(connection, session.session, request)
    if ('denied' in answer) throw new Refused(answer)
    // The payload is written anew, so the target reads the address that was judged.
    const asking = session.upstream.globalRequest(name, placeOf(listener), true)
    try {
      const reply = await this.#answerTo(asking, answer.forward)
      if (reply === false) return [false]
      // RFC 4254 section 7.1: the port, if it was left to the target. Its own words go no further.
      const told =
        port === 0 && !isLocal(name) ? new Writer().u32(boundTo(0, reply)).build() : undefined
      // The session may have ended meanwhile: then no code would take the listener back any longer.
      if (session.isOver) throw new ForwardEnded()
      const listener = listenerOf(session, name, address, boundTo(port, reply))
      this.#listeners = [...this.#listeners, listener]
      return told === undefined ? [true] : [true, told]
    } catch (err) {
      // A target that listens in spite of it, or later, has no client for the connections.
      asking.then(
        (reply) => {
          if (reply === false) return
          unlisten(listenerOf(session, name, address, boundTo(port, reply)))
        },
        () => {},
      )
      throw err
    }
  }

  /** The target's answer to a request to listen. It is on record when this resolves. */
  async #answerTo(asking: Promise<Buffer | false>, forward: string): Promise<Buffer | false> {
    const { deps, connection } = this.#context
    let reply: Buffer | false = false
    try {
      reply = await inTime(asking)
      return reply
    } finally {
      await deps.broker.closeForward(connection, forward, {
        bytesIn: 0,
        bytesOut: 0,
        ended: reply === false ? 'refused' : 'listening',
      })
    }
  }
}

/** The request by which the main process decides about a listener, or about a connection to it. */
export function remoteForward({ session, name, address, port }: Listener): ForwardRequest {
  const peer = peerOf(session.upstream)
  return name === 'streamlocal'
    ? { kind: 'remote-forward', path: address, ...peer }
    : { kind: 'remote-forward', host: address, port, ...peer }
}

/** The address at which the target was reached, as a field of a request. Throws ForwardEnded without one. */
export function peerOf({ peerAddress }: Connection): Pick<ForwardRequest, 'peer'> {
  if (peerAddress === undefined) throw new ForwardEnded()
  return { peer: peerAddress }
}

/** Asks the target to stop listening. Does not wait for its answer. */
function unlisten(listener: Listener): void {
  const { session, name } = listener
  const request =
    name === 'streamlocal' ? 'cancel-streamlocal-forward@openssh.com' : 'cancel-tcpip-forward'
  // A target that has gone does not listen.
  session.upstream.globalRequest(request, placeOf(listener), false).catch(() => {})
}

/** The payload of a request about a listener: the address in its one spelling. */
function placeOf({ name, address, port }: Pick<Listener, 'name' | 'address' | 'port'>): Buffer {
  const place = new Writer().text(address)
  return name === 'streamlocal' ? place.build() : place.u32(port).build()
}

function listenerOf(
  session: ForwardSession,
  name: string,
  address: string,
  port: number,
): Listener {
  return { session, name: kindOf(name), address, port }
}

/** The port that a target picked, where that was left to it. */
function boundTo(port: number, reply: Buffer): number {
  return port === 0 && reply.length >= 4 ? reply.readUInt32BE(0) : port
}

function kindOf(name: string): string {
  return isLocal(name) ? 'streamlocal' : 'tcpip'
}

function isLocal(name: string): boolean {
  return name.includes('streamlocal')
}

/** Reads `tcpip-forward` (RFC 4254 section 7.1) and OpenSSH's `streamlocal-forward` (PROTOCOL section 2.4). */
function readListen(name: string, payload: Buffer): { address: string; port: number } {
  const reader = new Reader(payload)
  const address = reader.text()
  const port = isLocal(name) ? 0 : reader.u32()
  reader.end()
  if (port > 65_535) throw new WireError('a port is larger than 65535')
  if (isLocal(name)) return { address: checkedPath(address), port }
  if (!isListenHost(address)) throw new WireError('an address to listen at is malformed')
  return { address, port }
}
