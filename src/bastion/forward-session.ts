import type { Authorization, ChannelKind } from '../access/index.ts'
import type { Log } from '../log.ts'
import type { SessionId } from '../recorder/index.ts'
import type { Connection } from '../ssh/index.ts'
import type { ConnectionId, ForwardWish } from './broker.ts'
import type { ServiceDeps } from './deps.ts'
import { ForwardEnded, Refused } from './errors.ts'
import { ForwardChannel, type ForwardEnds } from './forward-channel.ts'
import type { RelayBytes } from './relay.ts'

/** What the connection around it lends. */
export interface ForwardPlace {
  readonly deps: ServiceDeps
  readonly connection: ConnectionId
  readonly clientIdent: string
  readonly log: Log
  /** Those that are open or being opened, as the main process calls them. */
  readonly channels: Map<string, ForwardChannel>
  upstream(authorization: Authorization, session: SessionId): Promise<Connection>
  /** Why a session or a forward must end, where word of it came before it was known here. */
  killed(id: string): string | undefined
}

/** The forwards of one kind that a client has to its target: one session on record, with no recording. */
export class ForwardSession {
  readonly session: SessionId
  readonly authorization: Authorization
  readonly upstream: Connection
  readonly #place: ForwardPlace
  readonly #kind: ChannelKind
  readonly #channels = new Set<ForwardChannel>()
  readonly #bytes: RelayBytes = { up: 0, down: 0 }
  #isOver = false

  private constructor(
    place: ForwardPlace,
    kind: ChannelKind,
    authorization: Authorization,
    session: SessionId,
    upstream: Connection,
  ) {
    this.#place = place
    this.#kind = kind
    this.authorization = authorization
    this.session = session
    this.upstream = upstream
  }

  /** Throws Refused with what the person is told, and what a dial throws. */
  static async open(place: ForwardPlace, kind: ChannelKind): Promise<ForwardSession> {
    const { deps, connection, clientIdent } = place
    const answer = await deps.broker.authorize(connection, kind)
    if ('denied' in answer) throw new Refused(answer)
    const { session } = await deps.broker.startSession(connection, answer.id, { kind, clientIdent })
    deps.metrics.sessions.inc({ kind })
    try {
      const upstream = await place.upstream(answer, session)
      await deps.broker.upstreamOpened(connection, answer.id, session)
      return new ForwardSession(place, kind, answer, session, upstream)
    } catch (err) {
      deps.metrics.sessions.dec({ kind })
      deps.metrics.sessionsTotal.inc({ kind, outcome: 'cut' })
      await deps.broker.endSession(connection, session, { bytes: 0, reason: 'not-opened' })
      throw err
    }
  }

  /** Puts a forward on record, and opens it; closed is for when both of its sides have closed. */
  async carry(wish: ForwardWish, ends: ForwardEnds, closed: () => void): Promise<void> {
    if (this.#isOver) throw new ForwardEnded()
    const forward = new ForwardChannel(this.#place, this.session, (bytes) => {
      this.#channels.delete(forward)
      this.#bytes.up += bytes.up
      this.#bytes.down += bytes.down
    })
    this.#channels.add(forward)
    await forward.open(wish, ends, closed)
  }

  /** Ends what is open in it, and puts its end on record. */
  async end(outcome: string): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
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
