import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { readConnectionUrl } from '../connection-url.ts'
import { errorCode } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Secret } from '../secret.ts'
import { RedisUnavailable, RedisUrlInvalid } from './errors.ts'
import { LiveEntries } from './live-entries.ts'
import type { LiveRegistry } from './live-session.ts'
import { type CoordinationMetrics, coordinationMetrics } from './metrics.ts'
import { RedisRegistry, type Watch } from './redis-registry.ts'

/** Data that nodes share. All of it may be lost. */
export interface Coordination {
  readonly kind: 'redis' | 'in-process'
  readonly registry: LiveRegistry
  /** Resolves when Redis answers; the stand-in always does. */
  ping(): Promise<void>
  close(): Promise<void>
}

const commandMs = 1000
const connectMs = 2000
const backoffMaxMs = 5000

const clientOptions = {
  lazyConnect: true,
  connectTimeout: connectMs,
  commandTimeout: commandMs,
  // A command that cannot be sent now is dropped: sent late, it would undo newer ones.
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  retryStrategy: (tries: number) => Math.min(50 * 2 ** Math.min(tries, 10), backoffMaxMs),
}

/**
 * Opens Redis, or without a URL the stand-in for one node.
 *
 * A server that is away now is no reason not to start: it is tried again for as long as this is
 * open, and ping() says how things are.
 */
export async function openCoordination(
  url: Secret<string> | undefined,
  log: Log,
  metrics?: Metrics,
): Promise<Coordination> {
  if (url === undefined) return openInProcess()
  const scoped = log.child({ module: 'redis' })
  const watch = new OutageWatch(scoped, metrics && coordinationMetrics(metrics))
  const redis = openClient(url)
  redis.on('error', (err) => watch.failed(err))
  const connected = redis.connect().catch((err: unknown) => watch.failed(err))
  // A server that accepts and then does not answer must not delay the start.
  await Promise.race([connected, sleep(connectMs, undefined, { ref: false })])
  return {
    kind: 'redis',
    registry: new RedisRegistry(redis, watch),
    async ping() {
      try {
        await redis.ping()
        watch.succeeded()
      } catch (err) {
        watch.failed(err)
        throw new RedisUnavailable(err)
      }
    },
    async close() {
      // No message that must still arrive is waiting.
      redis.disconnect()
    },
  }
}

function openInProcess(): Coordination {
  return {
    kind: 'in-process',
    registry: new LiveEntries(),
    ping: async () => {},
    close: async () => {},
  }
}

/**
 * `unix:///run/redis.sock` is a path, percent-encoded; the client parses every other form itself. The error
 * of a URL that cannot be read would hold all of it, and its password.
 */
function openClient(url: Secret<string>): Redis {
  const text = url.reveal()
  if (readConnectionUrl(text) === undefined) throw new RedisUrlInvalid()
  if (!text.startsWith('unix:')) return new Redis(text, clientOptions)
  const { pathname, searchParams } = new URL(text)
  const password = searchParams.get('password')
  const path = decodeURIComponent(pathname)
  return new Redis({ ...clientOptions, path, ...(password !== null && { password }) })
}

/** Says once that Redis is away, and once that it is back. */
class OutageWatch implements Watch {
  readonly #log: Log
  readonly #metrics: CoordinationMetrics | undefined
  #away = false

  constructor(log: Log, metrics: CoordinationMetrics | undefined) {
    this.#log = log
    this.#metrics = metrics
  }

  failed(err: unknown): void {
    this.#metrics?.failures.inc()
    this.#metrics?.up.set(0)
    if (this.#away) return
    this.#away = true
    // The error of a refused login would print the server's words; its name and code are enough.
    this.#log.warn({ reason: reasonOf(err) }, 'redis lost, nodes do not see each other')
  }

  succeeded(): void {
    this.#metrics?.up.set(1)
    if (!this.#away) return
    this.#away = false
    this.#log.info('redis is back')
  }
}

function reasonOf(err: unknown): string {
  return errorCode(err) ?? (err instanceof Error ? err.name : 'unknown')
}
