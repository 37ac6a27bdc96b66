import { randomBytes } from 'node:crypto'
import { CodedError } from '../../errors.ts'
import type { Headcount } from '../../headcount.ts'
import { background, type Log } from '../../log.ts'
import type { SessionId } from '../../recorder/index.ts'
import { type Channel, type ChannelOpen, type Connection, WireError } from '../../ssh/index.ts'
import { Turns } from '../../turns.ts'
import type { Client, ConnectionId, Jump } from '../wire/calls.ts'
import { readDestination } from '../wire/destination.ts'
import type { KillNotices } from '../wire/kill-notices.ts'
import type { ServiceDeps } from './deps.ts'
import { Forwards } from './forward/forwards.ts'
import { refusalLine, refusalOf } from './refusal.ts'
import { earlyWindowBytes } from './session/early-input.ts'
import { SessionChannel } from './session/session.ts'
import type { UpstreamNeed } from './upstream.ts'
import { type TargetSession, Upstreams } from './upstreams.ts'

/** RFC 4254 section 5.1. */
const administrativelyProhibited = 1
const connectFailed = 2
const unknownChannelType = 3
const resourceShortage = 4

/**
 * The number of sessions of one connection that are started at a time: all users share the
 * database.
 */
const startsMax = 4
const forwardRequests = new Set([
  'tcpip-forward',
  'cancel-tcpip-forward',
  'streamlocal-forward@openssh.com',
  'cancel-streamlocal-forward@openssh.com',
])

export interface ClientConnectionOptions {
  readonly deps: ServiceDeps
  readonly id: ConnectionId
  readonly connection: Connection
  readonly client: Client
  readonly log: Log
  /** The sessions of each user, over all connections. */
  readonly sessionsOf: Headcount
  readonly kills: KillNotices
  /**
   * Returns the function that serves the connection inside a channel. Throws if it cannot be
   * served.
   */
  readonly jump: (jump: Jump) => (channel: Channel) => void
}

/** One client's connection after its login: its sessions, and the targets it has open. */
export class ClientConnection {
  readonly #deps: ServiceDeps
  readonly #id: ConnectionId
  readonly #connection: Connection
  readonly #client: Client
  readonly #log: Log
  readonly #sessionsOf: Headcount
  readonly #kills: KillNotices
  readonly #jump: ClientConnectionOptions['jump']
  readonly #sessions = new Set<SessionChannel>()
  readonly #upstreams: Upstreams
  readonly #turns = new Turns(startsMax)
  readonly #forwards: Forwards
  readonly #settled = Promise.withResolvers<void>()
  #noMoreSessions = false
  #closed = false
  /** The ends of all forwards are on record. */
  #isForwardless = false
  /** When the client logged in, began a session or a jump, or ended a session, whichever was last. */
  #activeAtMs = performance.now()

  constructor(options: ClientConnectionOptions) {
    const { deps, id, connection, client, log, sessionsOf, kills, jump } = options
    this.#deps = deps
    this.#id = id
    this.#connection = connection
    this.#client = client
    this.#log = log
    this.#sessionsOf = sessionsOf
    this.#kills = kills
    this.#jump = jump
    this.#upstreams = new Upstreams({
      deps,
      client: id,
      log,
      opened: (upstream, open) =>
        background(this.#forwards.fromTarget(upstream, open), log, 'a channel of a target'),
    })
    this.#forwards = new Forwards({
      deps,
      connection: id,
      client: connection,
      clientIdent: connection.peerIdent,
      log,
      requestId,
      tenantSlug: client.tenantSlug,
      upstream: (need) => this.#upstreams.connect(need),
      killed: (name) => kills.reasonFor(name),
    })
    connection.onChannelOpen = (open) => this.#opened(open)
    connection.onGlobalRequest = (request) => {
      // A promise of the client binds everybody who takes the client over.
      const promised = request.name === 'no-more-sessions@openssh.com'
      if (promised) this.#noMoreSessions = true
      if (!forwardRequests.has(request.name)) return request.reply(promised)
      this.#forwards.request(request)
    }
    background(
      connection.done.then(() => this.#end()),
      log,
      'the end of a connection',
    )
  }

  get sessions(): number {
    return this.#sessions.size + this.#forwards.busy
  }

  /** How long the client has asked for nothing, while it has no session. In milliseconds. */
  get restMs(): number {
    return this.sessions > 0 ? 0 : performance.now() - this.#activeAtMs
  }

  /** Resolves when the connection has ended and the last of its sessions is on record. */
  get settled(): Promise<void> {
    return this.#settled.promise
  }

  /** Ends the sessions that match, each with a line for its user. */
  endSessions(matches: (session: SessionId) => boolean, reason: CodedError, outcome: string): void {
    for (const channel of this.#sessions) {
      if (channel.session !== undefined && matches(channel.session)) channel.end(reason, outcome)
    }
    this.#forwards.endSessions(matches, reason, outcome)
  }

  /** Ends one forward, if it belongs to this connection. */
  endForward(forward: string, reason: string): void {
    this.#forwards.endForward(forward, reason)
  }

  /** Closes the connection, with its reason for clients that show it. */
  disconnect(text: string): void {
    this.#connection.disconnect(11, text)
  }

  #opened(open: ChannelOpen): void {
    if (open.type === 'direct-tcpip') {
      return background(this.#openDirect(open), this.#log, 'a direct channel')
    }
    if (open.type === 'direct-streamlocal@openssh.com') {
      return background(this.#forwards.openDirect(open), this.#log, 'a direct channel')
    }
    if (open.type !== 'session') return this.#refuse(open)
    // A channel that is closed before its session has started still costs a full start.
    if (this.#sessions.size >= this.#deps.limits.channelsPerConnectionMax) {
      return open.reject(resourceShortage, 'vaultterm: too many sessions on this connection')
    }
    if (this.#noMoreSessions) {
      return open.reject(
        administrativelyProhibited,
        'vaultterm: this connection accepts no further sessions',
      )
    }
    const { user, bounds } = this.#client
    if (!this.#sessionsOf.enter(user)) {
      return open.reject(resourceShortage, 'vaultterm: you have too many sessions open')
    }
    const session = new SessionChannel(
      open.accept(earlyWindowBytes),
      {
        deps: this.#deps,
        log: this.#log,
        clientIdent: this.#connection.peerIdent,
        tenant: this.#client.tenantSlug,
        mayHavePty: bounds?.permits.includes('permit-pty') ?? true,
        forceCommand: bounds?.forceCommand,
        connection: this.#id,
        // Authorized again for each session: the right of an hour ago may be gone.
        authorize: (kind, target) => this.#deps.broker.authorize(this.#id, kind, target),
        permitLoan: (kind) => this.#deps.broker.permitLoan(this.#id, kind),
        choices: (query) => this.#deps.broker.choices(this.#id, query),
        openTarget: (need) => this.#openTarget(need),
        lend: (upstream, loan, isTaken) => this.#forwards.lend(upstream, loan, isTaken),
        endIfAlone: (ownChannels) => this.#endIfAlone(ownChannels),
        forwardsRequested: () => this.#forwards.requested,
        requestId,
        takeTurn: () => this.#turns.take(),
        killed: (id) => this.#kills.reasonFor(id),
      },
      () => {
        this.#sessions.delete(session)
        this.#activeAtMs = performance.now()
        this.#sessionsOf.leave(user)
        this.#settle()
      },
    )
    this.#sessions.add(session)
    this.#activeAtMs = performance.now()
  }

  #endIfAlone(ownChannels: number): void {
    const isAlone = this.#connection.channels <= ownChannels && this.#forwards.isIdle
    if (isAlone) this.disconnect('vaultterm: nothing is open on this connection')
  }

  #refuse(open: ChannelOpen): void {
    this.#log.info({ type: open.type.slice(0, 64) }, 'channel refused')
    open.reject(unknownChannelType, 'vaultterm: no such channel')
  }

  /** A channel to a target is a jump, which is served here. To any other address it is a forward. */
  async #openDirect(open: ChannelOpen): Promise<void> {
    const jump = await this.#findJump(open)
    if (jump === undefined) return this.#forwards.openDirect(open)
    if (jump === 'refused' || this.#closed) return
    this.#activeAtMs = performance.now()
    jump(open.accept())
  }

  /**
   * Finds the jump that a channel leads to, and returns the function that serves it. Never rejects: the
   * channel is refused here where that has to be. Undefined: the channel leads to no target.
   */
  async #findJump(
    open: ChannelOpen,
  ): Promise<((channel: Channel) => void) | 'refused' | undefined> {
    try {
      const destination = readDestination(open.payload)
      using _turn = await this.#turns.take()
      const jump = await this.#deps.broker.openJump(this.#id, destination)
      if (jump === undefined) return undefined
      if (!('denied' in jump)) return this.#jump(jump)
      open.reject(administrativelyProhibited, refusalLine(jump, requestId()))
    } catch (err) {
      if (err instanceof WireError) open.reject(connectFailed, 'vaultterm: malformed')
      else {
        if (!(err instanceof CodedError)) this.#log.error({ err }, 'a jump could not be opened')
        open.reject(resourceShortage, refusalLine(refusalOf(err), requestId()))
      }
    }
    return 'refused'
  }

  async #openTarget(need: UpstreamNeed): Promise<TargetSession> {
    const { authorization, session } = need
    const opened = await this.#upstreams.openSession(need)
    try {
      need.ended.throwIfAborted()
      await this.#deps.broker.upstreamOpened(this.#id, authorization.id, session)
    } catch (err) {
      opened.channel.abort()
      opened.release()
      throw err
    }
    return opened
  }

  #settle(): void {
    if (this.#closed && this.#isForwardless && this.#sessions.size === 0) this.#settled.resolve()
  }

  #end(): void {
    this.#closed = true
    const ended = this.#forwards.end().finally(() => {
      this.#isForwardless = true
      this.#settle()
    })
    background(ended, this.#log, 'the end of forwards')
    this.#upstreams.close()
  }
}

/** A short id in a message to a user; the log has the details under this id. */
export function requestId(): string {
  return randomBytes(6).toString('hex')
}
