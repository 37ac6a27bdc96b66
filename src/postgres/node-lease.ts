import { setTimeout as sleep } from 'node:timers/promises'
import { Gauge } from 'prom-client'
import { bootClockMs } from '../boot-clock.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Database } from './database.ts'
import { NodeLeaseLost } from './errors.ts'
import type { InstanceId } from './instance-id.ts'

/**
 * The right of this process to serve.
 *
 * The process renews it by the database's clock. After it has run out, another process may take it,
 * and ends the sessions of this one on record. So this process stops before that moment. It counts
 * from before it sent the last renewal that was answered, by a clock that cannot be set and that
 * runs on while the machine sleeps.
 */
export interface NodeLease {
  /** The name that people read: two processes may have the same. */
  readonly node: string
  readonly instance: InstanceId
  /**
   * By bootClockMs(), the moment from which this process must not serve; it moves on with each
   * renewal. Sessions then have until stopAtMs to end cleanly.
   */
  readonly serveUntilMs: number
  /** By bootClockMs(), the moment at which every session must have ended. */
  readonly stopAtMs: number
  /**
   * Called each time that serveUntilMs passes. The lease may still be renewed if no other process
   * took it.
   */
  onLapse(listener: () => void): void
  /** Resolves when another process has taken it: it never comes back. */
  readonly lost: Promise<NodeLeaseLost>
  /**
   * Releases the lease, so that others need not wait until it runs out. Call it after serving has
   * stopped.
   */
  release(): Promise<void>
}

/** Parts of a lease: it is renewed every ninth, and served under for seven; all has ended at eight. */
const parts = 9
const serveParts = 7
const stopParts = 8
const lookMs = 250

/** Takes a lease for a new instance, and renews it until it is released or lost. */
export async function holdLease(options: {
  /** With a pool of its own, so that no load on another one delays a renewal. */
  readonly database: Database
  readonly instance: InstanceId
  readonly node: string
  readonly leaseMs: number
  readonly log: Log
  readonly metrics: Metrics
}): Promise<NodeLease> {
  const lease = new Lease(options)
  await lease.take()
  return lease
}

class Lease implements NodeLease {
  readonly node: string
  readonly instance: InstanceId
  readonly #database: Database
  readonly #leaseMs: number
  readonly #log: Log
  readonly #closing = new AbortController()
  readonly #lapseListeners: (() => void)[] = []
  readonly #lost = Promise.withResolvers<NodeLeaseLost>()
  #renewedAtMs = 0
  #hasLapsed = false
  #isLost = false
  #look: NodeJS.Timeout | undefined
  #renewing: Promise<void> = Promise.resolve()

  constructor({
    database,
    instance,
    node,
    leaseMs,
    log,
    metrics,
  }: Parameters<typeof holdLease>[0]) {
    this.#database = database
    this.instance = instance
    this.node = node
    this.#leaseMs = leaseMs
    this.#log = log.child({ module: 'lease', node, instance })
    const serveUntilMs = () => this.serveUntilMs
    new Gauge({
      name: 'bastion_node_lease_seconds',
      help: 'Seconds for which this process may still serve without a renewal; negative after them.',
      registers: [metrics],
      collect() {
        this.set((serveUntilMs() - bootClockMs()) / 1000)
      },
    })
  }

  get lost(): Promise<NodeLeaseLost> {
    return this.#lost.promise
  }

  get serveUntilMs(): number {
    return this.#isLost ? 0 : this.#renewedAtMs + (this.#leaseMs / parts) * serveParts
  }

  get stopAtMs(): number {
    return this.#isLost ? 0 : this.#renewedAtMs + (this.#leaseMs / parts) * stopParts
  }

  onLapse(listener: () => void): void {
    this.#lapseListeners.push(listener)
  }

  async take(): Promise<void> {
    const sentAtMs = bootClockMs()
    await this.#database.system((tx) =>
      tx.run(
        `insert into node_instance (id, node, lease_ms, lease_until)
           values ($1, $2, $3::integer, clock_timestamp() + $3::integer * interval '1 ms')`,
        [this.instance, this.node, this.#leaseMs],
      ),
    )
    this.#renewedAtMs = sentAtMs
    this.#look = setInterval(() => this.#checkLapse(), lookMs).unref()
    this.#renewing = this.#renewAgainAndAgain()
  }

  async release(): Promise<void> {
    this.#closing.abort()
    await this.#renewing
    clearInterval(this.#look)
    if (this.#isLost) return
    try {
      await this.#database.system((tx) =>
        tx.run(
          `update node_instance set ended_at = clock_timestamp(), ended = 'released'
             where id = $1 and ended_at is null`,
          [this.instance],
        ),
      )
    } catch (err) {
      this.#log.warn({ err }, 'the lease could not be released: others wait until it runs out')
    }
  }

  async #renewAgainAndAgain(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted && !this.#isLost) {
      await sleep(this.#leaseMs / parts, undefined, { signal, ref: false }).catch(() => {})
      if (!signal.aborted) await this.#renew()
    }
  }

  async #renew(): Promise<void> {
    const sentAtMs = bootClockMs()
    try {
      const renewed = await this.#database.system((tx) =>
        tx.run(
          `update node_instance set lease_until = clock_timestamp() + lease_ms * interval '1 ms'
             where id = $1 and ended_at is null`,
          [this.instance],
        ),
      )
      if (renewed === 0) return this.#lose()
      this.#renewedAtMs = sentAtMs
      if (this.#hasLapsed) this.#log.info('the lease is renewed: serving again')
      this.#hasLapsed = false
    } catch (err) {
      this.#log.warn({ err }, 'the lease could not be renewed')
    }
  }

  #checkLapse(): void {
    if (this.#hasLapsed || bootClockMs() < this.serveUntilMs) return
    this.#hasLapsed = true
    this.#log.error('the lease was not renewed in time: sessions end')
    for (const listener of this.#lapseListeners) listener()
  }

  #lose(): void {
    this.#isLost = true
    this.#checkLapse()
    const lost = new NodeLeaseLost()
    this.#log.fatal({ err: lost }, 'another process has taken the lease of this one')
    this.#lost.resolve(lost)
  }
}
