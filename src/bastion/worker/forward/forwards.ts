import { CodedError } from '../../../errors.ts'
import { background, type Log } from '../../../log.ts'
import type { SessionId } from '../../../recorder/index.ts'
import {
  type ChannelOpen,
  ChannelOpenRefused,
  type Connection,
  type GlobalRequest,
  Reader,
  WireError,
  Writer,
} from '../../../ssh/index.ts'
import type { ChannelKind, ForwardRequest } from '../../wire/calls.ts'
import {
  readDestination,
  readSocketPath,
  writeDestination,
  writeSocketPath,
} from '../../wire/destination.ts'
import { SessionKilled, TooManyForwards } from '../../wire/errors.ts'
import { printable, refusalLine, refusalOf } from '../refusal.ts'
import { ForwardChannel, type ForwardEnds } from './forward-channel.ts'
import type { ForwardContext } from './forward-context.ts'
import { ForwardSession } from './forward-session.ts'
import { Lendings, type Loan, type LoanInUse } from './lendings.ts'
import { Listeners, peerOf, remoteForward } from './listeners.ts'
import { missedJump } from './missed-jump.ts'

/** RFC 4254 section 5.1. */
const administrativelyProhibited = 1
const connectFailed = 2
const resourceShortage = 4
/** Of one connection, also those that want no reply. One more is refused by itself. */
const requestsMax = 512
/** An address and a port, or the path of a socket. Requests wait in order, and must not fill the memory. */
const requestBytesMax = 1040

/** A session, from its request on. */
interface Opening {
  /** On record; its target may stay silent for long after that. */
  readonly started: Promise<ForwardSession>
  readonly opened: Promise<ForwardSession>
}

export interface ForwardsOptions extends Omit<ForwardContext, 'channels'> {
  readonly client: Connection
  readonly requestId: () => string
  /** Of the client. */
  readonly tenantSlug: string
}

/**
 * The forwards of a client: ways from its side to hosts that its target can reach, and back. No
 * connection leaves from the bastion itself, and each forward is authorized by itself.
 */
export class Forwards {
  readonly #options: ForwardsOptions
  readonly #log: Log
  readonly #context: ForwardContext
  readonly #channels = new Map<string, ForwardChannel>()
  readonly #sessions = new Map<ChannelKind, Opening>()
  readonly #listeners: Listeners
  readonly #lendings = new Lendings()
  /** Open, and being opened. */
  #open = 0
  #isOver = false
  #requested: Promise<void> = Promise.resolve()
  /** Requests to listen, or to stop, that are not answered yet. */
  #requestsWaiting = 0

  constructor(options: ForwardsOptions) {
    this.#options = options
    this.#log = options.log
    this.#context = { ...options, channels: this.#channels }
    this.#listeners = new Listeners(this.#context)
  }

  /** 1 while a forward is open: then the process waits before it ends. */
  get busy(): number {
    return this.#open > 0 ? 1 : 0
  }

  /** Whether the client has no forward and no listener. */
  get isIdle(): boolean {
    return this.#open === 0 && this.#sessions.size === 0
  }

  /** `-L`, `-D` and `-W`: to where the target can reach. The open is answered. */
  async openDirect(open: ChannelOpen): Promise<void> {
    try {
      await this.#requested
      await this.#counted(async (closed) => {
        const session = await this.#session('forward')
        await session.carry(
          directRequest(open, session.upstream),
          directEnds(open, session.upstream),
          closed,
        )
      })
    } catch (err) {
      const isAddress = open.type === 'direct-tcpip' && err instanceof CodedError
      this.#refuse(
        open,
        isAddress ? missedJump(err, readDestination(open.payload), this.#options.tenantSlug) : err,
      )
    }
  }

  /**
   * `-R`: asks the target to listen, or to stop. The request is answered. As with OpenSSH's sshd, requests are
   * done one after the other, and everything that the client asks for later comes later.
   */
  request(request: GlobalRequest): void {
    const isTooLong = request.payload.length > requestBytesMax
    if (isTooLong || this.#requestsWaiting >= requestsMax) return request.reply(false)
    this.#requestsWaiting++
    this.#requested = this.#requested
      .then(() => this.#answer(request))
      .finally(() => this.#requestsWaiting--)
  }

  /** Resolves when every request that came so far is answered. Never rejects. */
  get requested(): Promise<void> {
    return this.#requested
  }

  async #answer(request: GlobalRequest): Promise<void> {
    try {
      const isStop = request.name.startsWith('cancel-')
      request.reply(
        ...(isStop
          ? await this.#listeners.stop(request)
          : await this.#listeners.listen(request, () => this.#session('remote-forward'))),
      )
    } catch (err) {
      // This answer has no room for a reason: it goes to the log.
      const { code, message } = refusalOf(err)
      this.#log.info({ code, message }, 'remote forward refused')
      request.reply(false)
    }
  }

  /** Lets a target use the client's agent or display: see Lendings. */
  lend(upstream: Connection, loan: Loan, isTaken: boolean): () => void {
    return this.#lendings.lend(upstream, loan, isTaken)
  }

  /** A target opens a channel to us: only one that the client has asked for leads on. */
  async fromTarget(upstream: Connection, open: ChannelOpen): Promise<void> {
    const { client } = this.#options
    try {
      const payload = rewritten(open)
      const loan = this.#lendings.find(upstream, open)
      if (loan !== undefined) {
        return await this.#counted((closed) => this.#carryLoan(loan, { open, payload }, closed))
      }
      const listener = this.#listeners.find(upstream, open)
      if (listener === undefined) {
        return open.reject(administrativelyProhibited, 'there is no such listener or loan')
      }
      const { session } = listener
      const request = remoteForward(listener)
      await this.#counted((closed) =>
        session.carry(request, endsOf({ open, payload }, client, 'far'), closed),
      )
    } catch (err) {
      const type = open.type.slice(0, 64)
      if (err instanceof CodedError || err instanceof WireError) {
        this.#log.info({ type, why: err.message }, 'channel of a target refused')
      } else this.#log.error({ err, type }, 'a channel of a target could not be opened')
      open.reject(err instanceof ChannelOpenRefused ? err.reason : connectFailed, '')
    }
  }

  /**
   * Ends the matching sessions, including those that are being opened; does not wait for their
   * targets.
   */
  endSessions(matches: (session: SessionId) => boolean, reason: CodedError, outcome: string): void {
    for (const [kind, opening] of this.#sessions) {
      opening.started.then(
        (session) => {
          if (!matches(session.session)) return
          this.#log.info({ code: reason.code, session: session.session }, 'forwards ended')
          this.#forget(kind, opening)
          background(session.end(outcome, reason), this.#log, 'the end of forwards')
        },
        () => {},
      )
    }
  }

  /** Ends a forward that is no longer allowed; its session and the other forwards go on. */
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

  async #carryLoan(lent: LoanInUse, asked: AskedOpen, closed: () => void): Promise<void> {
    const { client } = this.#options
    const { kind, session, channels } = lent
    const channel = new ForwardChannel(this.#context, session, () => channels.delete(channel))
    channels.add(channel)
    await channel.open({ kind }, endsOf(asked, client, 'far'), closed)
  }

  #session(kind: ChannelKind): Promise<ForwardSession> {
    const known = this.#sessions.get(kind)
    if (known !== undefined) return known.opened
    const started = ForwardSession.start(this.#context, kind)
    const opening: Opening = { started, opened: started.then((session) => this.#opened(session)) }
    this.#sessions.set(kind, opening)
    const forgotten = opening.opened.then(
      ({ upstream }) => upstream.done.then(() => this.#forget(kind, opening)),
      () => this.#forget(kind, opening),
    )
    background(forgotten, this.#log, 'the end of a forward session')
    return opening.opened
  }

  async #opened(session: ForwardSession): Promise<ForwardSession> {
    // The client may have gone, or the session been killed, while it was put on record.
    const killed = this.#options.killed(session.session)
    const end = (outcome: string, reason?: CodedError) =>
      background(session.end(outcome, reason), this.#log, 'the end of forwards')
    if (killed !== undefined) end('killed', new SessionKilled(killed))
    else if (this.#isOver) end('ended')
    await session.open()
    background(
      session.upstream.done.then(() => end('target-gone')),
      this.#log,
      'the end of forwards',
    )
    background(
      session.over.then(() => this.#listeners.drop(session)),
      this.#log,
      'the end of listeners',
    )
    return session
  }

  #forget(kind: ChannelKind, opening: Opening): void {
    if (this.#sessions.get(kind) === opening) this.#sessions.delete(kind)
  }

  /** closed is called when the opened channel has closed; if none was opened, at once. */
  async #counted(work: (closed: () => void) => Promise<void>): Promise<void> {
    if (this.#open >= this.#options.deps.limits.forwardsPerConnectionMax)
      throw new TooManyForwards()
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
      // The target's own answer: the client would have got the same one there.
      return open.reject(err.reason, printable(err.text))
    }
    if (err instanceof WireError) return open.reject(connectFailed, 'vaultterm: malformed')
    if (!(err instanceof CodedError)) this.#log.error({ err }, 'a forward could not be opened')
    const reason = err instanceof TooManyForwards ? resourceShortage : administrativelyProhibited
    open.reject(reason, refusalLine(refusalOf(err), this.#options.requestId()))
  }
}

/**
 * The payload of an open of a target's, written anew: a client ends its whole connection on a malformed one,
 * with the sessions on other targets. Throws WireError. RFC 4254 sections 6.3.2 and 7.2; OpenSSH PROTOCOL
 * section 2.4.
 */
function rewritten({ type, payload }: ChannelOpen): Buffer {
  const reader = new Reader(payload)
  const writer = new Writer()
  switch (type) {
    case 'x11':
      writer.text(originator(reader.text())).u32(reader.u32())
      break
    case 'forwarded-tcpip':
      writer.text(reader.text()).u32(reader.u32())
      writer.text(originator(reader.text())).u32(reader.u32())
      break
    case 'forwarded-streamlocal@openssh.com':
      writer.text(reader.text()).text('')
      reader.text()
      break
    case 'auth-agent@openssh.com':
      break
    default:
      return payload
  }
  reader.end()
  return writer.build()
}

/** For people to read; OpenSSH refuses some texts, NUL in them for example. */
function originator(text: string): string {
  return text.slice(0, 255).replaceAll(/[^\x20-\x7e]/g, '?')
}

/** An open of a target's, and its payload as it goes on. */
interface AskedOpen {
  readonly open: ChannelOpen
  readonly payload: Buffer
}

/** The side that asks is there and waits for an answer; the other one is opened as it asked. */
function endsOf(
  { open, payload }: AskedOpen,
  asked: Connection,
  client: ForwardEnds['client'],
): ForwardEnds {
  return {
    far: () => asked.openChannel(open.type, payload),
    near: () => open.accept(),
    client,
  }
}

/** A forward to a host that the target can reach, opened with the judged destination. */
function directEnds(open: ChannelOpen, upstream: Connection): ForwardEnds {
  return {
    far: ({ host, port, path }) => {
      if (path !== undefined) return upstream.openChannel(open.type, writeSocketPath(path))
      if (host === undefined || port === undefined)
        throw new Error('a forward without a destination')
      return upstream.openChannel(open.type, writeDestination({ host, port }, open.payload))
    },
    near: () => open.accept(),
    client: 'near',
  }
}

function directRequest({ type, payload }: ChannelOpen, upstream: Connection): ForwardRequest {
  const peer = peerOf(upstream)
  return type === 'direct-tcpip'
    ? { kind: 'forward', ...readDestination(payload), ...peer }
    : { kind: 'forward', path: readSocketPath(payload), ...peer }
}
