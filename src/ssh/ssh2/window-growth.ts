import { type ReceiveWindow, WindowBudget, WindowShares } from './receive-window.ts'

/** Windows of this many channels may be as large as they get. */
const processBytes = 256 * 1024 * 1024
const connectionBytes = 24 * 1024 * 1024
const processBudget = new WindowBudget(processBytes)
/** 128 windows of the process, and 24 of a connection, get all that they want. */
const processShares = new WindowShares(384 * 1024 * 1024, 64)
const connectionSharesBytes = 64 * 1024 * 1024

/** A sender of less data has no use for a larger window. */
const probeAfterBytes = 256 * 1024
const probeEveryMs = 200
/** Nearer than this the usual window is no limit. */
const farMs = 5
/** So much of a window in one round trip means that the sender waits for it. */
const limiting = 2 / 3

/** A channel that receives. */
export interface Receiving {
  readonly window: ReceiveWindow
  /** Tells the other side of the credit that is due. */
  credit(): void
}

interface Probe {
  readonly startedAt: number
  readonly came: Map<Receiving, number>
}

/**
 * Lets windows grow where the distance asks for it: no sender can have more than a window underway in a
 * round trip, so one that has about as much is held back by it.
 *
 * The round trip of a request that is sent while much data comes. The answer may have waited behind
 * that data, and then it says nothing about the distance; so the shortest round trip counts.
 */
export class WindowGrowth {
  readonly budget = new WindowBudget(connectionBytes, processBudget)
  /** What windows have before that. */
  readonly shares = new WindowShares(connectionSharesBytes, 8, processShares)
  readonly #ask: () => Promise<unknown>
  #probe: Probe | undefined
  #sinceProbe = 0
  #nextAt = 0
  #shortestMs = Infinity

  /** `ask` settles once the other side has answered. */
  constructor(ask: () => Promise<unknown>) {
    this.#ask = ask
  }

  came(receiving: Receiving, bytes: number): void {
    if (this.#probe !== undefined) {
      const { came } = this.#probe
      came.set(receiving, (came.get(receiving) ?? 0) + bytes)
      return
    }
    this.#sinceProbe += bytes
    if (this.#sinceProbe < probeAfterBytes || !receiving.window.mayGrow) return
    const now = performance.now()
    if (now < this.#nextAt) return
    this.#sinceProbe = 0
    const probe = { startedAt: now, came: new Map() }
    this.#probe = probe
    this.#ask().then(
      () => this.#answered(probe),
      // Without an answer there is no round trip: windows stay as they are.
      () => {},
    )
  }

  #answered({ startedAt, came }: Probe): void {
    this.#probe = undefined
    const now = performance.now()
    const elapsedMs = Math.max(now - startedAt, 0.1)
    this.#shortestMs = Math.min(this.#shortestMs, elapsedMs)
    let hasGrown = false
    if (this.#shortestMs >= farMs) {
      for (const [{ window, credit }, bytes] of came) {
        const inRoundTrip = (bytes / elapsedMs) * this.#shortestMs
        if (inRoundTrip < window.size * limiting || !window.grow()) continue
        hasGrown = true
        credit()
      }
    }
    this.#nextAt = hasGrown ? 0 : now + probeEveryMs
  }
}
