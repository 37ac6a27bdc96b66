import type { TenantId } from '../postgres/index.ts'
import type { Recovered, SessionId, Unended } from '../recorder/index.ts'

/** Makes the recording of a session that was cut off playable; the recorder's, which access does not hold. */
export type MendRecording = (unended: Unended) => Promise<Recovered>

/** For one tenant. */
interface Spent {
  ms: number
  readonly untilMs: number
}

/** How long the end of a session waits for its recording. */
const promptMs = 2000
/** How long the ends of a tenant wait in a minute, all together. */
const tenantMs = 6000
const windowMs = 60_000
/** Later ends of that minute: a short recording takes no more. */
const leastMs = 50
/** A disk that hangs reads no clock. */
const graceMs = 1000
/** The recorder gives a recording up before. */
const wholeMs = 180_000

/**
 * Mends recordings, each by one call at a time, and gives up waiting for a disk that hangs.
 *
 * What a user had recorded decides how long that takes: so an end does not wait for more than a little of it.
 */
export class Mends {
  readonly #running = new Set<SessionId>()
  readonly #spent = new Map<TenantId, Spent>()

  /** Before the end is on record. Answers 'unfinished' if that takes longer than ends may wait. */
  async prompt(unended: Unended, mend: MendRecording): Promise<Recovered> {
    const spent = this.#spentBy(unended.tenant)
    const withinMs = Math.max(leastMs, Math.min(promptMs, tenantMs - spent.ms))
    // No end waits for a disk that hung in this minute.
    if (spent.ms === Infinity || this.#running.has(unended.session)) return unfinished
    const startMs = performance.now()
    try {
      const answer = await within(withinMs + graceMs, this.#run({ ...unended, withinMs }, mend))
      if (answer === undefined) spent.ms = Infinity
      return answer ?? unfinished
    } finally {
      spent.ms += performance.now() - startMs
    }
  }

  /** After the end is on record. Rejects if it cannot be done now. */
  async whole(
    unended: Unended,
    mend: MendRecording,
  ): Promise<Exclude<Recovered, { outcome: 'unfinished' }>> {
    if (this.#running.has(unended.session)) throw new Error('a recording is being read still')
    const answer = await within(wholeMs, this.#run(unended, mend))
    if (answer === undefined || answer.outcome === 'unfinished') {
      throw new Error('a recording was not read in time')
    }
    return answer
  }

  async #run(unended: Unended, mend: MendRecording): Promise<Recovered> {
    this.#running.add(unended.session)
    try {
      return await mend(unended)
    } finally {
      this.#running.delete(unended.session)
    }
  }

  #spentBy(tenant: TenantId): Spent {
    const nowMs = performance.now()
    // In the order of their times.
    for (const [old, { untilMs }] of this.#spent) {
      if (untilMs > nowMs) break
      this.#spent.delete(old)
    }
    const spent = this.#spent.get(tenant) ?? { ms: 0, untilMs: nowMs + windowMs }
    this.#spent.set(tenant, spent)
    return spent
  }
}

const unfinished: Recovered = { outcome: 'unfinished' }

/** undefined: it did not settle in time, and goes on. */
async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => late.resolve(undefined), ms).unref()
  try {
    return await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
