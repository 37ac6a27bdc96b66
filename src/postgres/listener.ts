import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { Log } from '../log.ts'
import { BoundedClient, type BoundedConfig } from './client.ts'
import { DatabaseUnavailable } from './errors.ts'
import { connectReason } from './pool.ts'
import { takeBackSettings } from './session-settings.ts'

/** undefined: notifications may have been missed. */
export type OnPayload = (payload: string | undefined) => void

export interface Listening {
  close(): Promise<void>
}

const heartbeatMs = 10_000
const backoffMaxMs = 5000

/**
 * One connection of its own for every channel that is listened to: LISTEN belongs to a connection,
 * and one of the pool comes and goes.
 *
 * When the connection is lost, it reconnects with growing pauses, listens to every channel again,
 * and only then tells each listener that it may have missed notifications.
 */
export class Listener {
  readonly #config: BoundedConfig
  readonly #log: Log
  readonly #listeners = new Map<string, Set<OnPayload>>()
  readonly #closing = new AbortController()
  #client: pg.Client | undefined
  #connecting: Promise<pg.Client> | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #reconnecting: Promise<void> = Promise.resolve()

  constructor(config: BoundedConfig, log: Log) {
    this.#config = config
    this.#log = log
  }

  async listen(channel: string, onPayload: OnPayload): Promise<Listening> {
    if (!/^[a-z_]{1,63}$/.test(channel)) throw new TypeError(`not a channel name: ${channel}`)
    const listeners = this.#listeners.get(channel) ?? new Set()
    // Each call has a function of its own, so that one close() ends one subscription.
    const subscriber: OnPayload = (payload) => onPayload(payload)
    this.#listeners.set(channel, listeners.add(subscriber))
    try {
      const client = this.#client ?? (await this.#dial())
      await client.query(`listen ${channel}`)
    } catch (err) {
      listeners.delete(subscriber)
      throw new DatabaseUnavailable(connectReason(err), err)
    }
    return {
      close: async () => {
        listeners.delete(subscriber)
        if (listeners.size > 0) return
        this.#listeners.delete(channel)
        // A lost connection receives no notifications.
        await this.#client?.query(`unlisten ${channel}`).catch(() => {})
      },
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#connecting?.catch(() => {})
    await this.#reconnecting
    clearInterval(this.#heartbeat)
    const client = this.#client
    this.#client = undefined
    await client?.end().catch(() => {})
  }

  /** One dial at a time, for all callers. */
  #dial(): Promise<pg.Client> {
    this.#connecting ??= this.#connect()
    return this.#connecting
  }

  async #connect(): Promise<pg.Client> {
    const client = new BoundedClient(this.#config)
    client.on('error', () => this.#lost(client))
    client.on('end', () => this.#lost(client))
    client.on('notification', ({ channel, payload }) => this.#tell(channel, payload ?? ''))
    try {
      await client.connect()
      await client.query(takeBackSettings)
      for (const channel of this.#listeners.keys()) await client.query(`listen ${channel}`)
    } catch (err) {
      await client.end().catch(() => {})
      throw err
    } finally {
      this.#connecting = undefined
    }
    this.#client = client
    this.#heartbeat = setInterval(() => {
      // A peer that vanished without a word is only noticed by asking.
      client.query('select 1').catch(() => this.#lost(client))
    }, heartbeatMs).unref()
    return client
  }

  #lost(client: pg.Client): void {
    if (this.#client !== client) return
    this.#client = undefined
    clearInterval(this.#heartbeat)
    client.end().catch(() => {})
    if (this.#closing.signal.aborted) return
    this.#log.warn('notifications lost, reconnecting')
    this.#reconnecting = this.#reconnect()
  }

  async #reconnect(): Promise<void> {
    const { signal } = this.#closing
    for (let pauseMs = 50; !signal.aborted; pauseMs = Math.min(pauseMs * 2, backoffMaxMs)) {
      try {
        await sleep(pauseMs * (0.5 + Math.random() / 2), undefined, { signal })
        await this.#dial()
        this.#log.info('notifications resumed')
        for (const channel of this.#listeners.keys()) this.#tell(channel, undefined)
        return
      } catch {
        // Still away, or closing: the loop knows which.
      }
    }
  }

  #tell(channel: string, payload: string | undefined): void {
    for (const listener of this.#listeners.get(channel) ?? []) {
      try {
        listener(payload)
      } catch (err) {
        this.#log.error({ err, channel }, 'listener failed')
      }
    }
  }
}
