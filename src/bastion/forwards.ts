import type { ChannelKind } from '../access/index.ts'
import { CodedError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { SessionId } from '../recorder/index.ts'
import {
  type ChannelOpen,
  ChannelOpenRefused,
  type Connection,
  type GlobalRequest,
  Reader,
  WireError,
  Writer,
} from '../ssh/index.ts'
import type { ForwardWish } from './broker.ts'
import { ForwardEnded, Refused, SessionKilled, TooManyForwards } from './errors.ts'
import { ForwardChannel, type ForwardEnds } from './forward-channel.ts'
import { type ForwardPlace, ForwardSession } from './forward-session.ts'
import { type Destination, readDestination } from './jump.ts'
import { printable, refusalLine, refusalOf } from './refusal.ts'
import { inTime } from './target-start.ts'

/** RFC 4254 section 5.1. */
const administrativelyProhibited = 1
const connectFailed = 2
const resourceShortage = 4

/** Open at a time, of one connection: RFC has no limit, and a browser behind -D opens dozens. */
export const forwardsMax = 50
/** Listeners on targets, of one connection. */
const listenersMax = 10
const pathBytesMax = 1024

/** A place on a target at which somebody else may ask for the client: RFC 4254 section 7.1. */
interface Listener {
  readonly session: ForwardSession
  readonly name: string
  /** As the target tells it with each connection. */
  readonly address: string
  readonly port: number
}

/** A session whose agent, or whose display, its target may use. */
export interface Loan {
  readonly kind: 'agent' | 'x11'
  readonly session: SessionId
}

/** A loan, and what has been opened by it. */
interface Lent extends Loan {
  readonly channels: Set<ForwardChannel>
}

/** What one connection to a target was lent, by each of the sessions that share it. */
interface Lending {
  readonly loans: Lent[]
  /** It listens for programs that ask for an agent, and does so until it closes. */
  takesAgents: boolean
}

/** A session from the moment in which it is asked for. */
interface Opening {
  /** On record: its target may be silent for long after that. */
  readonly started: Promise<ForwardSession>
  readonly opened: Promise<ForwardSession>
}

export interface ForwardsOptions extends Omit<ForwardPlace, 'channels'> {
  readonly client: Connection
  readonly requestId: () => string
}

/**
 * What a client has besides its sessions: ways from its side to where its target can reach, and
 * back. None leaves from here, and each is asked about by itself.
 */
export class Forwards {
  readonly #options: ForwardsOptions
  readonly #log: Log
  readonly #place: ForwardPlace
  readonly #channels = new Map<string, ForwardChannel>()
  readonly #sessions = new Map<ChannelKind, Opening>()
  #listeners: readonly Listener[] = []
  /** Listeners that are being asked for. */
  #listening = 0
  readonly #lendings = new WeakMap<Connection, Lending>()
  /** Open, and being opened. */
  #open = 0
  #isOver = false

  constructor(options: ForwardsOptions) {
    this.#options = options
    this.#log = options.log
    this.#place = { ...options, channels: this.#channels }
  }

  /** 1 while anything is open: what is worth waiting for before the process ends. */
  get busy(): number {
    return this.#open > 0 ? 1 : 0
  }

  /** `-L`, `-D` and `-W`: to where the target can reach. The open is answered. */
  async openDirect(open: ChannelOpen): Promise<void> {
    try {
      await this.#counted(async (closed) => {
        const session = await this.#session('forward')
        await session.carry(directWish(open), endsOf(open, session.upstream, 'near'), closed)
      })
    } catch (err) {
      this.#refuse(open, err)
    }
  }

  /** `-R`: asks the target to listen, or to stop. The request is answered. */
  async request(request: GlobalRequest): Promise<void> {
    try {
      const isStop = request.name.startsWith('cancel-')
      request.reply(...(isStop ? await this.#stop(request) : await this.#listen(request)))
    } catch (err) {
      // There is no room for a reason in this answer: it goes to the log.
      const { code, message } = refusalOf(err)
      this.#log.info({ code, message }, 'remote forward refused')
      request.reply(false)
    }
  }

  /**
   * The target may open channels to this client's agent, or display, while a session lasts. With the
   * call that takes it back, those that are open end. Nothing is lent to one that does not want to:
   * but OpenSSH's server takes one agent a connection, for all sessions there, and refuses the second.
   */
  lend(upstream: Connection, loan: Loan, isTaken: boolean): () => void {
    const lending = this.#lendings.get(upstream) ?? { loans: [], takesAgents: false }
    this.#lendings.set(upstream, lending)
    if (isTaken && loan.kind === 'agent') lending.takesAgents = true
    if (!isTaken && (loan.kind !== 'agent' || !lending.takesAgents)) return () => {}
    const { loans } = lending
    const lent: Lent = { ...loan, channels: new Set() }
    loans.push(lent)
    return () => {
      loans.splice(loans.indexOf(lent), 1)
      for (const channel of lent.channels) channel.end()
    }
  }

  /** A target opens a channel to us: only one that the client has asked for leads on. */
  async fromTarget(upstream: Connection, open: ChannelOpen): Promise<void> {
    const { client } = this.#options
    try {
      const loan = this.#loanFor(upstream, open)
      if (loan !== undefined) {
        return await this.#counted((closed) => this.#carryLoan(loan, open, closed))
      }
      const listener = this.#listenerFor(upstream, open)
      if (listener === undefined) {
        return open.reject(administrativelyProhibited, 'nobody asked for it')
      }
      const { session, address, port } = listener
      const wish: ForwardWish = isLocal(open.type)
        ? { kind: 'remote-forward', path: address }
        : { kind: 'remote-forward', host: address, port }
      await this.#counted((closed) => session.carry(wish, endsOf(open, client, 'far'), closed))
    } catch (err) {
      this.#log.info({ err, type: open.type.slice(0, 64) }, 'channel of a target refused')
      open.reject(err instanceof ChannelOpenRefused ? err.reason : connectFailed, '')
    }
  }

  /** Ends the sessions that match, and those that are being opened too: none waits for its target. */
  endSessions(matches: (session: SessionId) => boolean, reason: CodedError, outcome: string): void {
    for (const [kind, opening] of this.#sessions) {
      opening.started.then(
        (session) => {
          if (!matches(session.session)) return
          this.#log.info({ code: reason.code, session: session.session }, 'forwards ended')
          this.#forget(kind, opening)
          void session.end(outcome, reason)
        },
        () => {},
      )
    }
  }

  /** Ends one that is not allowed any more; its session and the others go on. */
  endForward(forward: string, reason: string): void {
    const channel = this.#channels.get(forward)
    if (channel === undefined) return
    this.#log.info({ forward, reason }, 'forward ended')
    channel.end()
  }

  /** Resolves when all is on record. */
  async end(): Promise<void> {
    this.#isOver = true
    const openings = [...this.#sessions.values()]
    const sessions = await Promise.allSettled(openings.map(({ started }) => started))
    this.#sessions.clear()
    await Promise.all(
      sessions.map(async (one) => one.status === 'fulfilled' && (await one.value.end('ended'))),
    )
  }

  async #carryLoan(lent: Lent, open: ChannelOpen, closed: () => void): Promise<void> {
    const { client } = this.#options
    const { kind, session, channels } = lent
    const channel = new ForwardChannel(this.#place, session, () => channels.delete(channel))
    channels.add(channel)
    await channel.open({ kind }, endsOf(open, client, 'far'), closed)
  }

  #session(kind: ChannelKind): Promise<ForwardSession> {
    const known = this.#sessions.get(kind)
    if (known !== undefined) return known.opened
    const started = ForwardSession.start(this.#place, kind)
    const opening: Opening = { started, opened: started.then((session) => this.#opened(session)) }
    this.#sessions.set(kind, opening)
    opening.opened.then(
      ({ upstream }) => void upstream.done.then(() => this.#forget(kind, opening)),
      () => this.#forget(kind, opening),
    )
    return opening.opened
  }

  async #opened(session: ForwardSession): Promise<ForwardSession> {
    // The client may have gone, or the session been killed, while it was put on record.
    const killed = this.#options.killed(session.session)
    if (killed !== undefined) void session.end('killed', new SessionKilled(killed))
    else if (this.#isOver) void session.end('ended')
    await session.open()
    void session.upstream.done.then(() => session.end('target-gone'))
    void session.over.then(() => this.#dropListeners(session))
    return session
  }

  #forget(kind: ChannelKind, opening: Opening): void {
    if (this.#sessions.get(kind) === opening) this.#sessions.delete(kind)
  }

  /** closed is for when what was opened has closed; what was not opened is over at once. */
  async #counted(work: (closed: () => void) => Promise<void>): Promise<void> {
    if (this.#open >= forwardsMax) throw new TooManyForwards()
    this.#open++
    const closed = () => void this.#open--
    try {
      await work(closed)
    } catch (err) {
      closed()
      throw err
    }
  }

  #refuse(open: ChannelOpen, err: unknown): void {
    if (err instanceof ChannelOpenRefused) {
      // The target's own answer, which is what the client would have got there.
      return open.reject(err.reason, printable(err.text))
    }
    if (err instanceof WireError) return open.reject(connectFailed, 'vaultterm: malformed')
    if (!(err instanceof CodedError)) this.#log.error({ err }, 'a forward could not be opened')
    const reason = err instanceof TooManyForwards ? resourceShortage : administrativelyProhibited
    open.reject(reason, refusalLine(refusalOf(err), this.#options.requestId()))
  }

  async #listen({ name, payload }: GlobalRequest): Promise<[boolean, Buffer?]> {
    const { address, port } = readListen(name, payload)
    // Counted before anything is awaited: many may be asked for at once.
    if (this.#listeners.length + this.#listening >= listenersMax) throw new TooManyForwards()
    this.#listening++
    try {
      return await this.#listenAt({ name, payload, address, port })
    } finally {
      this.#listening--
    }
  }

  async #listenAt(asked: {
    readonly name: string
    readonly payload: Buffer
    readonly address: string
    readonly port: number
  }): Promise<[boolean, Buffer?]> {
    const { name, payload, address, port } = asked
    const session = await this.#session('remote-forward')
    const wish: ForwardWish = isLocal(name)
      ? { kind: 'remote-forward', path: address }
      : { kind: 'remote-forward', host: address, port }
    const { broker } = this.#options.deps
    const answer = await broker.openForward(this.#options.connection, session.session, wish)
    if ('denied' in answer) throw new Refused(answer)
    const asking = session.upstream.globalRequest(name, payload, true)
    try {
      const reply = await this.#answerTo(asking, answer.forward)
      if (reply === false) return [false]
      // It may have ended meanwhile, and nobody would take the listener back any more.
      if (session.isOver) throw new ForwardEnded()
      const listener = listenerOf(session, name, address, boundTo(port, reply))
      this.#listeners = [...this.#listeners, listener]
      return [true, reply]
    } catch (err) {
      // Where the target listens all the same, or comes to, it would do so for nobody.
      asking.then(
        (reply) => {
          if (reply === false) return
          this.#unlisten(listenerOf(session, name, address, boundTo(port, reply)))
        },
        () => {},
      )
      throw err
    }
  }

  /** What a target says to a listener, which is on record with that. */
  async #answerTo(asking: Promise<Buffer | false>, forward: string): Promise<Buffer | false> {
    let reply: Buffer | false = false
    try {
      reply = await inTime(asking)
      return reply
    } finally {
      await this.#options.deps.broker.closeForward(this.#options.connection, forward, {
        bytesIn: 0,
        bytesOut: 0,
        ended: reply === false ? 'refused' : 'listening',
      })
    }
  }

  /** The target is told, and not waited for. */
  #unlisten({ session, name, address, port }: Listener): void {
    const place = new Writer().text(address)
    const [request, payload] =
      name === 'streamlocal'
        ? ['cancel-streamlocal-forward@openssh.com', place.build()]
        : ['cancel-tcpip-forward', place.u32(port).build()]
    void session.upstream.globalRequest(request, payload, false)
  }

  /** A session is over, however that came: so is all that its target listens at. */
  #dropListeners(session: ForwardSession): void {
    for (const listener of this.#listeners) {
      if (listener.session === session) this.#unlisten(listener)
    }
    this.#listeners = this.#listeners.filter((one) => one.session !== session)
  }

  async #stop({ name, payload }: GlobalRequest): Promise<[boolean]> {
    const { address, port } = readListen(name, payload)
    const listener = this.#listeners.find(
      (one) => one.name === kindOf(name) && one.address === address && one.port === port,
    )
    if (listener === undefined) return [false]
    this.#listeners = this.#listeners.filter((one) => one !== listener)
    return [(await inTime(listener.session.upstream.globalRequest(name, payload, true))) !== false]
  }

  #loanFor(upstream: Connection, { type }: ChannelOpen): Lent | undefined {
    const kind = type === 'auth-agent@openssh.com' ? 'agent' : type === 'x11' ? 'x11' : undefined
    return this.#lendings.get(upstream)?.loans.find((loan) => loan.kind === kind)
  }

  #listenerFor(upstream: Connection, { type, payload }: ChannelOpen): Listener | undefined {
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
}

/** The side that asks is there and waits for an answer; the other one is opened as it asked. */
function endsOf(open: ChannelOpen, asked: Connection, client: ForwardEnds['client']): ForwardEnds {
  return {
    far: () => asked.openChannel(open.type, open.payload),
    near: () => open.accept(),
    client,
  }
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

/** Of `tcpip-forward`, RFC 4254 section 7.1, and of OpenSSH's PROTOCOL section 2.4. */
function readListen(name: string, payload: Buffer): { address: string; port: number } {
  const reader = new Reader(payload)
  const address = reader.text()
  const port = isLocal(name) ? 0 : reader.u32()
  reader.end()
  if (address.length > pathBytesMax || port > 65_535) throw new WireError('no place to listen at')
  return { address, port }
}

function directWish({ type, payload }: ChannelOpen): ForwardWish {
  if (type === 'direct-tcpip') {
    const { host, port }: Destination = readDestination(payload)
    return { kind: 'forward', host, port }
  }
  const reader = new Reader(payload)
  const path = reader.text()
  reader.string()
  reader.u32()
  reader.end()
  if (path.length > pathBytesMax) throw new WireError('no path to forward to')
  return { kind: 'forward', path }
}
