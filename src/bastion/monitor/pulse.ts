import { readFileSync } from 'node:fs'

/** Pings without an answer. A worker that stands still is killed within five seconds. */
const owedMax = 4
/** The same of one that reads and writes for its users: it may have much to do before it comes to the pings. */
const owedOfBusyMax = 15
/** Calls of the system between two pings: a loop without an end makes none. */
const callsOfBusyMin = 100

/** Whether a worker still answers, and if not, whether it hangs or is only busy. */
export class Pulse {
  /** Pings without an answer. Counted, not timed: the worker is not blamed when this process stands still. */
  #owed: readonly number[] = []
  /** Of its main thread; undefined where the system does not tell. */
  #calls: number | undefined
  #isBusy = false

  /** How many pings in a row it has not answered. */
  get owed(): number {
    return this.#owed.length
  }

  /** A worker may only seem busy to go on with what it was told to end: one that owes that gets no more time. */
  isHung(owesEnd: boolean): boolean {
    return this.owed >= (this.#isBusy && !owesEnd ? owedOfBusyMax : owedMax)
  }

  pinged(ping: number, pid: number | undefined): void {
    this.#owed = [...this.#owed, ping]
    const calls = callsOf(pid)
    this.#isBusy =
      calls !== undefined && this.#calls !== undefined && calls - this.#calls >= callsOfBusyMin
    this.#calls = calls
  }

  /** It has answered that ping, and so those before it. */
  ponged(ping: number): void {
    this.#owed = this.#owed.filter((owed) => owed > ping)
  }
}

/** How often the main thread of a process has read and written. */
function callsOf(pid: number | undefined): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/io`, 'utf8')
    const [reads, writes] = [/^syscr: (\d+)$/m.exec(text)?.[1], /^syscw: (\d+)$/m.exec(text)?.[1]]
    return reads === undefined || writes === undefined ? undefined : Number(reads) + Number(writes)
  } catch {
    return undefined
  }
}
