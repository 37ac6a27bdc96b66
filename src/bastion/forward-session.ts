import type { Authorization, ChannelKind } from '../access/index.ts'
import type { Log } from '../log.ts'
import type { SessionId } from '../recorder/index.ts'
import type { Channel, Connection } from '../ssh/index.ts'
import type { ConnectionId, ForwardWish } from './broker.ts'
import type { ServiceDeps } from './deps.ts'
import { Refused } from './errors.ts'
import { pipe } from './pipe.ts'
import type { RelayBytes } from './relay.ts'

/** What the connection around it lends. */
export interface ForwardPlace {
  readonly deps: ServiceDeps
  readonly connection: ConnectionId
  readonly clientIdent: string
  readonly log: Log
  upstream(authorization: Authorization, session: SessionId): Promise<Connection>
}

/** The forwards of one kind that a client has to its target: one session on record, with no recording. */
export class ForwardSession {
  readonly session: SessionId
  readonly authorization: Authorization
  readonly upstream: Connection
  readonly #place: ForwardPlace
  readonly #kind: ChannelKind
  readonly #channels = new Set<Channel>()
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

  get isOver(): boolean {
    return this.#isOver
  }

  /** Channels open now. */
  get size(): number {
    return this.#channels.size
  }

  /**
   * Puts a forward on record, and then has both ends of it opened: `near` is the side that asks, and
   * is told of a refusal of the far side by an error.
   */
  async carry(
    wish: ForwardWish,
    far: () => Promise<Channel>,
    near: () => Channel | Promise<Channel>,
    client: 'near' | 'far',
    over: () => void,
  ): Promise<void> {
    const { deps, connection, log } = this.#place
    const answer = await deps.broker.openForward(connection, this.session, wish)
    if ('denied' in answer) throw new Refused(answer)
    const close = (bytes: RelayBytes, ended: string) => {
      const outcome = { bytesIn: bytes.up, bytesOut: bytes.down, ended }
      deps.broker.closeForward(connection, answer.forward, outcome).catch((err: unknown) => {
        log.error({ err, session: this.session }, 'the end of a forward is not on record')
      })
    }
    let opened: Channel | undefined
    try {
      opened = await far()
      if (this.#isOver) throw new Error('the session is over')
      const asked = await near()
      const [up, down] = client === 'near' ? [asked, opened] : [opened, asked]
      this.#channels.add(up)
      pipe(up, down, (bytes) => {
        this.#channels.delete(up)
        over()
        this.#bytes.up += bytes.up
        this.#bytes.down += bytes.down
        close(bytes, 'ended')
      })
    } catch (err) {
      opened?.abort()
      close({ up: 0, down: 0 }, 'refused')
      throw err
    }
  }

  /** Ends what is open in it, and puts its end on record. */
  async end(outcome: string): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
    const { deps, connection, log } = this.#place
    for (const channel of this.#channels) channel.abort()
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
