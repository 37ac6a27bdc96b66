/** The times of a replay and of its session, which differ where pauses are shortened. In milliseconds. */
export class ReplayClock {
  readonly #replay: number[] = [0]
  readonly #session: number[] = [0]

  /** One event: both times are never before those of the event before. */
  add(replayTime: number, sessionTime: number): void {
    this.#replay.push(replayTime)
    this.#session.push(sessionTime)
  }

  /** When the session's last event was, in its own time. */
  get sessionEnd(): number {
    return this.#session.at(-1) ?? 0
  }

  get replayEnd(): number {
    return this.#replay.at(-1) ?? 0
  }

  /** The time in the session of what the replay shows at a time. */
  toSession(replayTime: number): number {
    return between(this.#replay, this.#session, replayTime)
  }

  toReplay(sessionTime: number): number {
    return between(this.#session, this.#replay, sessionTime)
  }
}

/** The value that stands where `at` stands among the keys, which only grow. */
function between(keys: readonly number[], values: readonly number[], at: number): number {
  const last = lastUpTo(keys, at)
  const [key = 0, value = 0] = [keys[last], values[last]]
  const [nextKey, nextValue] = [keys[last + 1], values[last + 1]]
  if (nextKey === undefined || nextValue === undefined || nextKey === key) return value
  return value + (Math.max(0, at - key) / (nextKey - key)) * (nextValue - value)
}

/** The place of the last key that is not larger; 0 if there is none. */
function lastUpTo(keys: readonly number[], at: number): number {
  let [low, high] = [0, keys.length - 1]
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if ((keys[middle] ?? 0) <= at) low = middle
    else high = middle - 1
  }
  return low
}
