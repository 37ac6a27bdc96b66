import { bootClockMs } from '../../boot-clock.ts'
import type { LeaseTimes } from '../wire/lease-times.ts'

const lookMs = 250

/**
 * Ends what a worker serves when its node's lease runs out, whatever the main process does.
 *
 * A process that was stopped may find data on its sockets before any timer runs: check() is asked
 * before bytes are carried.
 */
export class LeaseWatch {
  readonly #lapsed: () => void
  readonly #stop: () => void
  #times: LeaseTimes | undefined
  /** The same as stopAtMs, by performance.now(), which is read in nanoseconds. */
  #stopAtMs = Number.POSITIVE_INFINITY
  #hasLapsed = false

  /** stop() must end the process at once. */
  constructor(on: { lapsed(): void; stop(): void }) {
    this.#lapsed = on.lapsed
    this.#stop = on.stop
    setInterval(() => this.#look(), lookMs).unref()
  }

  get hasLapsed(): boolean {
    return this.#hasLapsed
  }

  /** Without times, as without a lease, nothing runs out. */
  renew(times: LeaseTimes | undefined): void {
    // What has lapsed ends, although the node may serve again: other workers serve then.
    if (times === undefined || this.#hasLapsed) return
    this.#times = times
    this.#stopAtMs = performance.now() + times.stopAtMs - bootClockMs()
  }

  /** Ends the process where nothing may be carried. */
  check(): void {
    if (performance.now() >= this.#stopAtMs) this.#stop()
  }

  #look(): void {
    if (this.#times === undefined) return
    const nowMs = bootClockMs()
    if (nowMs >= this.#times.stopAtMs) this.#stop()
    else if (nowMs >= this.#times.serveUntilMs && !this.#hasLapsed) {
      this.#hasLapsed = true
      this.#lapsed()
    }
  }
}
