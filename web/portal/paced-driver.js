import { C as Core } from './player/core.js'

/** Everything that the player's core tells its terminal and its controls. */
const names = [
  ...['reset', 'resize', 'output', 'metadata', 'play', 'playing', 'pause', 'seeked', 'ended'],
  ...['marker', 'input', 'loading', 'error'],
]
/** How long the terminal may draw before the page gets its turn. */
const sliceMs = 40
/** From then on, the page says that it is slow. */
const lateMs = 1000

/**
 * A driver of the player that plays a recording as the player does, but draws in slices: going to the
 * end of a recording feeds all of it to the terminal, and the page would stand still meanwhile.
 *
 * @param watch is told at(time) before each drawing, late(true) while the terminal is behind, and fail()
 *   when the recording cannot be played on. Nothing more is drawn once it has failed. A time is in
 *   milliseconds of the replay.
 */
export function pacedDriver(source, options, watch) {
  return ({ dispatch, logger }) => {
    const core = new Core(source, { speed: 1, ...options, logger })
    const queue = new DrawQueue(dispatch, watch)
    for (const name of names) core.addEventListener(name, (data) => queue.add(name, data))
    return {
      init() {
        core.terminalReady()
        return core.init()
      },
      play: () => core.play(),
      pause: () => core.pause(),
      seek: (where) => core.seek(where),
      step: (count) => core.step(count),
      stop: () => core.stop(),
      getDuration: () => core.getDuration(),
      getCurrentTime: () => core.getCurrentTime(),
    }
  }
}

/** What is still to be drawn, in order. */
class DrawQueue {
  #dispatch
  #watch
  #waiting = []
  #next = 0
  #lateAt

  constructor(dispatch, watch) {
    this.#dispatch = dispatch
    this.#watch = watch
  }

  add(name, data) {
    // What comes before a new terminal would not be seen any more.
    if (name === 'reset') this.#dropDrawing()
    if (name === 'output' && Array.isArray(data)) {
      for (const { time, pieces } of data)
        for (const piece of pieces) this.#waiting.push({ name, data: piece, time })
    } else this.#waiting.push({ name, data })
    if (this.#lateAt === undefined) this.#draw()
  }

  #dropDrawing() {
    const drawing = ['reset', 'resize', 'output']
    this.#waiting = this.#waiting.slice(this.#next).filter(({ name }) => !drawing.includes(name))
    this.#next = 0
  }

  /** Draws what waits, until the slice is over; then goes on after the page had its turn. */
  #draw() {
    const now = performance.now()
    this.#lateAt ??= now + lateMs
    while (this.#next < this.#waiting.length) {
      const { name, data, time } = this.#waiting[this.#next++]
      if (time !== undefined) this.#watch.at(time)
      this.#dispatch(name, data)
      if (name === 'error') this.#watch.fail()
      if (this.#watch.failed) return
      if (performance.now() > now + sliceMs) break
    }
    if (this.#next < this.#waiting.length) {
      if (now > this.#lateAt) this.#watch.late(true)
      setTimeout(() => this.#draw())
      return
    }
    this.#waiting = []
    this.#next = 0
    this.#lateAt = undefined
    this.#watch.late(false)
  }
}
