import type { Authorization, ChannelKind } from '../access/index.ts'
import type { CodedError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { SessionId } from '../recorder/index.ts'
import type { Connection } from '../ssh/index.ts'
import type { ConnectionId, ForwardWish } from './broker.ts'
import type { ServiceDeps } from './deps.ts'
import { ForwardEnded, Refused } from './errors.ts'
import { ForwardChannel, type ForwardEnds } from './forward-channel.ts'
import type { RelayBytes } from './relay.ts'
import { type UpstreamNeed, unlessEnded } from './upstream.ts'

/** What the connection around it lends. */
export interface ForwardPlace {
  readonly deps: ServiceDeps
  readonly connection: ConnectionId
  readonly clientIdent: string
  readonly log: Log
  /** Those that are open or being opened, as the main process calls them. */
  readonly channels: Map<string, ForwardChannel>
  upstream(need: UpstreamNeed): Promise<Connection>
  /** Why a session or a forward must end, where word of it came before it was known here. */
  killed(id: string): string | undefined
}

/** The forwards of one kind that a client has to its target: one session on record, with no recording. */
export class ForwardSession {
  readonly session: SessionId
  readonly authorization: Authorization
  readonly #place: ForwardPlace
  readonly #kind: ChannelKind
  readonly #channels = new Set<ForwardChannel>()
  readonly #bytes: RelayBytes = { up: 0, down: 0 }
  readonly #ended = new AbortController()
  readonly #over = Promise.withResolvers<void>()
  #upstream: Connection | undefined
  #recorded: Promise<void> | undefined

  private constructor(
    place: ForwardPlace,
    kind: ChannelKind,
    authorization: Authorization,
    session: SessionId,
  ) {
    this.#place = place
    this.#kind = kind
    this.authorization = authorization
    this.session = session
  }

  /** On record, and not yet open: whoever ends it must not have to wait for its target. */
  static async start(place: ForwardPlace, kind: ChannelKind): Promise<ForwardSession> {
    const { deps, connection, clientIdent } = place
    const answer = await deps.broker.authorize(connection, kind)
    if ('denied' in answer) throw new Refused(answer)
    const { session } = await deps.broker.startSession(connection, answer.id, { kind, clientIdent })
    deps.metrics.sessions.inc({ kind })
    return new ForwardSession(place, kind, answer, session)
  }

  /** Resolves as soon as it ends; its end is on record after that. */
  get over(): Promise<void> {
    return this.#over.promise
  }

  get isOver(): boolean {
    return this.#recorded !== undefined
  }

  /** Once it is open. */
  get upstream(): Connection {
    if (this.#upstream === undefined) throw new Error('a forward session that is not open')
    return this.#upstream
  }

  /** Throws what a dial throws, and what it was ended with. */
  async open(): Promise<void> {
    const { authorization, session } = this
    const { deps, connection } = this.#place
    const ended = this.#ended.signal
    try {
      const upstream = await this.#place.upstream({ authorization, session, ended })
      const isOnRecord = deps.broker.upstreamOpened(connection, authorization.id, session)
      await unlessEnded(isOnRecord, ended)
      this.#upstream = upstream
    } catch (err) {
      await this.end('not-opened')
      throw err
    }
  }

  /** Puts a forward on record, and opens it; closed is for when both of its sides have closed. */
  async carry(wish: ForwardWish, ends: ForwardEnds, closed: () => void): Promise<void> {
    if (this.isOver) throw new ForwardEnded()
    const forward = new ForwardChannel(this.#place, this.session, (bytes) => {
      this.#channels.delete(forward)
      this.#bytes.up += bytes.up
      this.#bytes.down += bytes.down
    })
    this.#channels.add(forward)
    await forward.open(wish, ends, closed)
  }

  /** Ends what is open in it, or its dial, for a reason. Resolves when its end is on record. */
  end(outcome: string, reason: CodedError = new ForwardEnded()): Promise<void> {
    this.#recorded ??= this.#end(outcome)
    this.#ended.abort(reason)
    this.#over.resolve()
    return this.#recorded
  }

  async #end(outcome: string): Promise<void> {
    const { deps, connection, log } = this.#place
    for (const channel of this.#channels) channel.end()
    const { up, down } = this.#bytes
    try {
      await deps.broker.endSession(connection, this.session, { bytes: up + down, reason: outcome })
    } catch (err) {
      log.error({ err, session: this.session }, 'session end could not be put on record')
    } finally {
      const kind = this.#kind
      deps.metrics.sessions.dec({ kind })
      deps.metrics.sessionsTotal.inc({ kind, outcome: outcome === 'ended' ? 'ended' : 'cut' })
      deps.metrics.relayBytes.inc({ direction: 'up' }, up)
      deps.metrics.relayBytes.inc({ direction: 'down' }, down)
    }
  }
}
