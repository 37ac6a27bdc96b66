import { background, type Log } from '../../log.ts'
import type { ChannelOpen, Connection } from '../../ssh/index.ts'
import type { ConnectionId } from '../wire/calls.ts'
import type { ServiceDeps } from './deps.ts'
import { dial, type UpstreamNeed, unlessEnded } from './upstream.ts'

/** A connection to a target, which may still be in the making. */
interface Dial {
  readonly connection: Promise<Connection>
  /** Aborted when the session that it was dialled for ends. */
  readonly ended: AbortSignal
}

export interface UpstreamsOptions {
  readonly deps: ServiceDeps
  /** The client's connection. */
  readonly client: ConnectionId
  readonly log: Log
  /** The target opens a channel. */
  opened(upstream: Connection, open: ChannelOpen): void
}

/** A client's connections to targets: one for each target and login, shared by the sessions there. */
export class Upstreams {
  readonly #options: UpstreamsOptions
  readonly #dials = new Map<string, Dial>()
  #isClosed = false

  constructor(options: UpstreamsOptions) {
    this.#options = options
  }

  /** The connection for a session, dialled where there is none. Throws as `dial` does. */
  async connect(need: UpstreamNeed): Promise<Connection> {
    const { authorization, ended } = need
    ended.throwIfAborted()
    const key = `${authorization.target.id} ${authorization.login}`
    for (;;) {
      const found = this.#dials.get(key) ?? this.#dial(key, need)
      try {
        return await unlessEnded(found.connection, ended)
      } catch (err) {
        // The session that dialled has ended, and its dial with it: a session that shared it dials anew.
        if (ended.aborted || this.#isClosed || !found.ended.aborted) throw err
      }
    }
  }

  /** The client has gone: ends every connection, now or as soon as it is made. */
  close(): void {
    this.#isClosed = true
    for (const { connection } of this.#dials.values()) {
      connection.then(
        (upstream) => upstream.disconnect(11, 'the client has gone'),
        () => {},
      )
    }
  }

  #dial(key: string, need: UpstreamNeed): Dial {
    const { deps, client, log } = this.#options
    const connection = dial(deps, client, need, log)
    const dialled: Dial = { connection, ended: need.ended }
    this.#dials.set(key, dialled)
    const forget = () => {
      if (this.#dials.get(key) === dialled) this.#dials.delete(key)
    }
    connection.then((upstream) => {
      deps.metrics.upstreams.inc()
      upstream.onChannelOpen = (open) => this.#options.opened(upstream, open)
      const ended = upstream.done.then(() => {
        deps.metrics.upstreams.dec()
        forget()
      })
      background(ended, log, 'the count of an upstream connection')
      // An upstream must not outlive its client.
      if (this.#isClosed) upstream.destroy()
    }, forget)
    return dialled
  }
}
