import { background, type Log } from '../log.ts'
import type { SessionId } from '../recorder/index.ts'

const pauseMs = 2000
const owedMax = 10_000

/**
 * Ends of sessions that the database was not there for: each is tried again until it is written, or
 * this process ends and the next start's recovery writes what is then known.
 */
export class OwedEnds {
  readonly #log: Log
  readonly #owed = new Map<SessionId, () => Promise<void>>()
  #timer: NodeJS.Timeout | undefined

  constructor(log: Log) {
    this.#log = log
  }

  /** write may be called again when it succeeded without saying so. */
  add(session: SessionId, write: () => Promise<void>): void {
    if (this.#owed.size >= owedMax) {
      this.#log.error({ session }, 'too many ends wait for the database: left to recovery')
      return
    }
    this.#owed.set(session, write)
    this.#timer ??= this.#later()
  }

  async #settle(): Promise<void> {
    for (const [session, write] of this.#owed) {
      try {
        await write()
        this.#owed.delete(session)
        this.#log.info({ session }, 'end of a session written late')
      } catch (err) {
        this.#log.warn({ err, owed: this.#owed.size }, 'ends of sessions still wait')
        break
      }
    }
    this.#timer = undefined
    if (this.#owed.size > 0) {
      this.#timer = this.#later()
    }
  }

  #later(): NodeJS.Timeout {
    const settle = () => background(this.#settle(), this.#log, 'a try to write ends of sessions')
    return setTimeout(settle, pauseMs).unref()
  }
}
