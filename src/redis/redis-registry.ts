import type { Redis } from 'ioredis'
import { redisKey } from './key.ts'
import { LiveEntries } from './live-entries.ts'
import {
  formatLiveSession,
  type LiveRegistry,
  type LiveSession,
  oldestFirst,
  parseLiveSession,
} from './live-session.ts'

/** More than this of one tenant are not shown. */
const sessionsMax = 10_000

/** How long a set outlives its last renewal: longer than any session in it. */
const indexMs = 3_600_000

/**
 * Called at each failure and each success, to log once that Redis is away and once that it is back.
 */
export interface Watch {
  failed(err: unknown): void
  succeeded(): void
}

/**
 * The registry in Redis. A session is a value of its own that expires; a sorted set of each tenant
 * lists the keys to ask for.
 */
export class RedisRegistry implements LiveRegistry {
  readonly #redis: Redis
  readonly #watch: Watch
  readonly #own = new LiveEntries()

  constructor(redis: Redis, watch: Watch) {
    this.#redis = redis
    this.#watch = watch
  }

  async put(live: LiveSession, ttlMs: number): Promise<void> {
    await this.#own.put(live, ttlMs)
    const { tenant, session } = live
    const index = redisKey('live', tenant)
    const now = Date.now()
    await this.#attempt(index, async () => {
      const replies = await this.#redis
        .multi()
        .set(redisKey('live-session', tenant, session), formatLiveSession(live), 'PX', ttlMs)
        .zremrangebyscore(index, '-inf', `${now}`)
        .zadd(index, now + ttlMs, session)
        .pexpire(index, Math.max(ttlMs, indexMs))
        .exec()
      throwFirst(replies)
    })
  }

  async remove(tenant: string, session: string): Promise<void> {
    await this.#own.remove(tenant, session)
    const index = redisKey('live', tenant)
    await this.#attempt(index, async () => {
      const key = redisKey('live-session', tenant, session)
      throwFirst(await this.#redis.multi().del(key).zrem(index, session).exec())
    })
  }

  async list(tenant: string): Promise<LiveSession[]> {
    const own = await this.#own.list(tenant)
    const index = redisKey('live', tenant)
    const found = await this.#attempt(index, async () => {
      const sessions = await this.#redis.zrange(index, 0, `${sessionsMax - 1}`)
      if (sessions.length === 0) return []
      return this.#redis.mget(sessions.map((session) => redisKey('live-session', tenant, session)))
    })
    const others = (found ?? [])
      .map((value) => (value === null ? undefined : parseLiveSession(value)))
      .filter((live) => live?.tenant === tenant)
    const known = new Map<string, LiveSession>()
    // This node's own data about its sessions is newer than the data in Redis.
    for (const live of [...others, ...own]) if (live !== undefined) known.set(live.session, live)
    return oldestFirst([...known.values()])
  }

  /** undefined while Redis is away: the caller goes on with the node's own data. */
  async #attempt<T>(index: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      const result = await work()
      this.#watch.succeeded()
      return result
    } catch (err) {
      this.#watch.failed(err)
      // Another program put a different kind of value at our key: the next renewal makes the set
      // again.
      if (err instanceof Error && err.message.startsWith('WRONGTYPE')) {
        await this.#redis.del(index).catch((failure: unknown) => this.#watch.failed(failure))
      }
      return undefined
    }
  }
}

function throwFirst(replies: readonly (readonly [Error | null, unknown])[] | null): void {
  if (replies === null) throw new Error('the transaction was discarded')
  for (const [err] of replies) if (err !== null) throw err
}
