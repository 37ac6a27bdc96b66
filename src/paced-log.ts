import type { Log } from './log.ts'

export interface LinePace {
  /** Lines of each level at once. */
  readonly burst: number
  readonly perSecond: number
}

/** A person who tries things leaves a few lines a minute. */
const perConnection: LinePace = { burst: 50, perSecond: 1 }

/**
 * The same log for work that somebody from outside sets off as often as they like: it must not fill the disk
 * that has the recordings, nor hide what others cause. The next line that goes says how many of its level were
 * left out. Each level has lines of its own, so that a flood of one hides no other.
 */
export function pacedLog(
  log: Log,
  pace: LinePace = perConnection,
  now: () => number = () => performance.now(),
): Log {
  return new PacedLines(pace, now).around(log)
}

const levels: readonly PropertyKey[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal']

class PacedLines {
  readonly #pace: LinePace
  readonly #now: () => number
  readonly #spent = new Map<PropertyKey, { lines: number; at: number; leftOut: number }>()

  constructor(pace: LinePace, now: () => number) {
    this.#pace = pace
    this.#now = now
  }

  /** Its children share its lines. */
  around(log: Log): Log {
    return new Proxy(log, {
      get: (target, name) => {
        if (name === 'child') return (facts: object) => this.around(target.child(facts))
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return levels.includes(name)
          ? (...line: unknown[]) => this.#write(target, value, name, line)
          : value.bind(target)
      },
    })
  }

  #write(log: Log, write: object, level: PropertyKey, line: readonly unknown[]): void {
    if (typeof write !== 'function' || !log.isLevelEnabled(String(level))) return
    const leftOut = this.#take(level)
    if (leftOut === undefined) return
    // A child's methods are its own, but they all take the receiver as the logger.
    Reflect.apply(write, leftOut === 0 ? log : log.child({ leftOut }), line)
  }

  /** How many lines were left out since the last one; undefined if this is another. */
  #take(level: PropertyKey): number | undefined {
    const at = this.#now()
    const before = this.#spent.get(level) ?? { lines: 0, at, leftOut: 0 }
    const back = ((at - before.at) * this.#pace.perSecond) / 1000
    const lines = Math.max(before.lines - back, 0) + 1
    const isOver = lines > this.#pace.burst
    this.#spent.set(level, {
      at,
      lines: isOver ? lines - 1 : lines,
      leftOut: isOver ? before.leftOut + 1 : 0,
    })
    return isOver ? undefined : before.leftOut
  }
}
