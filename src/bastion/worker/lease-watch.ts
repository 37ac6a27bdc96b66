import { bootClockMs } from '../../boot-clock.ts'
import type { LeaseTimes } from '../wire/lease-times.ts'

const lookMs = 250

/**
 * Ends everything that a worker serves when its node's lease runs out, even if the main process
 * hangs.
 *
 * A process that was stopped may find data on its sockets before any timer runs: check() is asked
 * before bytes are carried.
 */
export class LeaseWatch {
  readonly #on: { lapsed(): void; isLate(): boolean; stop(): void }
  #times: LeaseTimes | undefined
  /** The same as stopAtMs, by performance.now(), which is read in nanoseconds. */
  #stopAtMs = Number.POSITIVE_INFINITY
  #hasLapsed = false

  /**
   * lapsed() is called when sessions must end. isLate() says, when all should have ended, whether
   * one has not. stop() must end the process at once.
   */
  constructor(on: { lapsed(): void; isLate(): boolean; stop(): void }) {
    this.#on = on
    setInterval(() => this.#look(), lookMs).unref()
  }

  /** Without times, as without a lease, there is no end. */
  renew(times: LeaseTimes | undefined): void {
    if (times === undefined) return
    this.#times = times
    this.#stopAtMs = performance.now() + times.stopAtMs - bootClockMs()
    this.#look()
  }

  /** Ends the process if it must not carry data any longer. */
  check(): void {
    if (performance.now() >= this.#stopAtMs) this.#on.stop()
  }

  #look(): void {
    if (this.#times === undefined) return
    const nowMs = bootClockMs()
    if (nowMs >= this.#times.stopAtMs && this.#on.isLate()) this.#on.stop()
    const hasLapsed = nowMs >= this.#times.serveUntilMs
    if (hasLapsed && !this.#hasLapsed) this.#on.lapsed()
    this.#hasLapsed = hasLapsed
  }
}
