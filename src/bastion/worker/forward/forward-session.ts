import type { CodedError } from '../../../errors.ts'
import type { SessionId } from '../../../recorder/index.ts'
import type { Connection } from '../../../ssh/index.ts'
import type { Authorization, ChannelKind, ForwardRequest } from '../../wire/calls.ts'
import { ForwardEnded, Refused } from '../errors.ts'
import type { RelayBytes } from '../relay.ts'
import { unlessEnded } from '../upstream.ts'
import { ForwardChannel, type ForwardEnds } from './forward-channel.ts'
import type { ForwardContext } from './forward-context.ts'

/** The forwards of one kind that a client has to its target: one session on record, with no recording. */
export class ForwardSession {
  readonly session: SessionId
  readonly authorization: Authorization
  readonly #context: ForwardContext
  readonly #kind: ChannelKind
  readonly #channels = new Set<ForwardChannel>()
  readonly #bytes: RelayBytes = { up: 0, down: 0 }
  readonly #ended = new AbortController()
  readonly #over = Promise.withResolvers<void>()
  #upstream: Connection | undefined
  #recorded: Promise<void> | undefined

  private constructor(
    context: ForwardContext,
    kind: ChannelKind,
    authorization: Authorization,
    session: SessionId,
  ) {
    this.#context = context
    this.#kind = kind
    this.authorization = authorization
    this.session = session
  }

  /** On record, and not open yet: to end it, nobody must have to wait for its target. */
  static async start(context: ForwardContext, kind: ChannelKind): Promise<ForwardSession> {
    const { deps, connection, clientIdent } = context
    const answer = await deps.broker.authorize(connection, kind)
    if ('denied' in answer) throw new Refused(answer)
    const { session } = await deps.broker.startSession(connection, answer.id, { kind, clientIdent })
    deps.metrics.sessions.inc({ kind })
    return new ForwardSession(context, kind, answer, session)
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

  /** Throws the errors of a dial, and the reason with which it was ended. */
  async open(): Promise<void> {
    const { authorization, session } = this
    const { deps, connection } = this.#context
    const ended = this.#ended.signal
    try {
      const upstream = await this.#context.upstream({ authorization, session, ended })
      const isOnRecord = deps.broker.upstreamOpened(connection, authorization.id, session)
      await unlessEnded(isOnRecord, ended)
      this.#upstream = upstream
    } catch (err) {
      await this.end('not-opened')
      throw err
    }
  }

  /** Puts a forward on record, and opens it; closed is for when both of its sides have closed. */
  async carry(request: ForwardRequest, ends: ForwardEnds, closed: () => void): Promise<void> {
    if (this.isOver) throw new ForwardEnded()
    const forward = new ForwardChannel(this.#context, this.session, (bytes) => {
      this.#channels.delete(forward)
      this.#bytes.up += bytes.up
      this.#bytes.down += bytes.down
    })
    this.#channels.add(forward)
    await forward.open(request, ends, closed)
  }

  /** Ends its open forwards, or its dial, with a reason. Resolves when its end is on record. */
  end(outcome: string, reason: CodedError = new ForwardEnded()): Promise<void> {
    this.#recorded ??= this.#end(outcome)
    this.#ended.abort(reason)
    this.#over.resolve()
    return this.#recorded
  }

  async #end(outcome: string): Promise<void> {
    const { deps, connection, log } = this.#context
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
