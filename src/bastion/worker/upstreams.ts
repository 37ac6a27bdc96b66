import { background, type Log } from '../../log.ts'
import {
  type Channel,
  type ChannelOpen,
  ChannelOpenRefused,
  type Connection,
  ConnectionClosed,
} from '../../ssh/index.ts'
import type { ConnectionId } from '../wire/calls.ts'
import type { ServiceDeps } from './deps.ts'
import { inTime } from './session/target-start.ts'
import { dial, explainOpen, type UpstreamNeed, unlessEnded } from './upstream.ts'

/** A connection to a target; it may still be opening. */
interface Upstream {
  readonly connection: Promise<Connection>
  /** Aborted when the session that it was dialled for ends. */
  readonly ended: AbortSignal
  /** Session channels that are open or being opened on it. */
  sessions: number
  /** How many the target allows, once it has refused one more: MaxSessions in OpenSSH's sshd. */
  sessionsMax: number
  /** One that was dialled besides another closes with its last session. */
  readonly isExtra: boolean
}

/** A session channel on a target, and the connection that carries it. */
export interface TargetSession {
  readonly channel: Channel
  readonly upstream: Connection
  /** The session no longer needs it: it makes room for another one. A second call does nothing. */
  release(): void
}

export interface UpstreamsOptions {
  readonly deps: ServiceDeps
  /** The client's connection. */
  readonly client: ConnectionId
  readonly log: Log
  /** The target opens a channel. */
  opened(upstream: Connection, open: ChannelOpen): void
}

/**
 * A client's connections to targets. Sessions with one login on one target share a connection; where the
 * target allows fewer sessions on a connection than the client opens, there are several.
 */
export class Upstreams {
  readonly #options: UpstreamsOptions
  /** By target and login. The one that is not extra carries the forwards too. */
  readonly #upstreams = new Map<string, readonly Upstream[]>()
  #isClosed = false

  constructor(options: UpstreamsOptions) {
    this.#options = options
  }

  /** The connection that a session's forwards go through. Throws as `dial` does. */
  async connect(need: UpstreamNeed): Promise<Connection> {
    for (;;) {
      need.ended.throwIfAborted()
      const upstream = this.#list(need).find((one) => !one.isExtra) ?? this.#dial(need)
      const connection = await this.#connected(upstream, need)
      if (connection !== undefined) return connection
    }
  }

  /**
   * Opens a session channel on the target. A limit of the target's on one connection is no limit of the
   * user's: the session gets a connection of its own then, as it would from `ssh` without multiplexing.
   *
   * Throws as `dial` does, and as `explainOpen` says when a new connection is refused its first session.
   */
  async openSession(need: UpstreamNeed): Promise<TargetSession> {
    for (;;) {
      need.ended.throwIfAborted()
      const shared = this.#list(need).find(({ sessions, sessionsMax }) => sessions < sessionsMax)
      const upstream = shared ?? this.#dial(need)
      upstream.sessions++
      try {
        const connection = await this.#connected(upstream, need)
        if (connection !== undefined) return await this.#open(connection, upstream)
        this.#left(upstream)
      } catch (err) {
        this.#left(upstream)
        if (shared === undefined || !this.#isFullOrClosed(err, upstream, need)) {
          throw explainOpen(err, need.authorization)
        }
      }
    }
  }

  /** The client has left: ends every connection, now or as soon as it is open. */
  close(): void {
    this.#isClosed = true
    for (const upstreams of this.#upstreams.values()) for (const one of upstreams) hangUp(one)
  }

  async #open(connection: Connection, upstream: Upstream): Promise<TargetSession> {
    const opening = connection.openChannel('session', Buffer.alloc(0))
    try {
      const channel = await inTime(opening)
      let release = () => this.#left(upstream)
      return {
        channel,
        upstream: connection,
        release() {
          release()
          release = () => {}
        },
      }
    } catch (err) {
      // A target that opens it after all opens it for no session.
      opening.then(
        (channel) => channel.abort(),
        () => {},
      )
      throw err
    }
  }

  /** Undefined: the session that dialled has ended, and its dial with it. Another dial is needed. */
  async #connected(upstream: Upstream, { ended }: UpstreamNeed): Promise<Connection | undefined> {
    try {
      return await unlessEnded(upstream.connection, ended)
    } catch (err) {
      if (ended.aborted || this.#isClosed || !upstream.ended.aborted) throw err
      return undefined
    }
  }

  /** Whether a refused open concerns only this connection, and not the target as a whole. */
  #isFullOrClosed(err: unknown, upstream: Upstream, need: UpstreamNeed): boolean {
    if (err instanceof ChannelOpenRefused) {
      upstream.sessionsMax = Math.min(upstream.sessionsMax, upstream.sessions)
      return true
    }
    if (!(err instanceof ConnectionClosed)) return false
    this.#forget(keyOf(need), upstream)
    return true
  }

  #left(upstream: Upstream): void {
    upstream.sessions--
    if (upstream.isExtra && upstream.sessions === 0) hangUp(upstream)
  }

  #list(need: UpstreamNeed): readonly Upstream[] {
    return this.#upstreams.get(keyOf(need)) ?? []
  }

  #forget(key: string, upstream: Upstream): void {
    const others = (this.#upstreams.get(key) ?? []).filter((one) => one !== upstream)
    if (others.length > 0) this.#upstreams.set(key, others)
    else this.#upstreams.delete(key)
  }

  #dial(need: UpstreamNeed): Upstream {
    const { deps, client, log } = this.#options
    const key = keyOf(need)
    const others = this.#list(need)
    const connection = dial(deps, client, need, log)
    const upstream: Upstream = {
      connection,
      ended: need.ended,
      sessions: 0,
      sessionsMax: Number.POSITIVE_INFINITY,
      isExtra: others.some((one) => !one.isExtra),
    }
    this.#upstreams.set(key, [...others, upstream])
    const forget = () => this.#forget(key, upstream)
    connection.then((opened) => {
      deps.metrics.upstreams.inc()
      opened.onChannelOpen = (open) => this.#options.opened(opened, open)
      const ended = opened.done.then(() => {
        deps.metrics.upstreams.dec()
        forget()
      })
      background(ended, log, 'the count of an upstream connection')
      // An upstream must not outlive its client.
      if (this.#isClosed) opened.destroy()
    }, forget)
    return upstream
  }
}

/** A target that was moved, or has another host key, is dialled again. */
function keyOf({ authorization: { target, login } }: UpstreamNeed): string {
  return `${target.id} ${target.generation} ${login}`
}

function hangUp({ connection }: Upstream): void {
  connection.then(
    (upstream) => upstream.disconnect(11, 'no session needs it any longer'),
    () => {},
  )
}
