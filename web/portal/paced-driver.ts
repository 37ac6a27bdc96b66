import { C as Core, type CoreOptions, type CoreSource, type Driver } from 'asciinema-player-core'
import type { Drawing } from './recording.ts'

/** Everything that the player's core tells its terminal and its controls. */
const names = [
  ...['reset', 'resize', 'output', 'metadata', 'play', 'playing', 'pause', 'seeked', 'ended'],
  ...['marker', 'input', 'loading', 'error'],
]
/** How long the terminal may draw before the page gets its turn. */
const sliceMs = 40
/** From then on, the page says that it is slow. */
const lateMs = 1000

/** Is told how the drawing goes on. A time is in milliseconds of the replay. */
export interface Watch {
  /** The recording cannot be played on. Nothing more is drawn. */
  readonly failed: boolean
  /** Before each drawing. */
  at(time: number): void
  /** While the terminal is behind. */
  late(is: boolean): void
  fail(): void
}

type Dispatch = (name: string, data: unknown) => void

interface Told {
  readonly name: string
  readonly data: unknown
  readonly time?: number
}

/**
 * A driver of the player that plays a recording as the player does, but draws in slices: going to the
 * end of a recording feeds all of it to the terminal, and the page would stand still meanwhile.
 */
export function pacedDriver(source: CoreSource, options: CoreOptions, watch: Watch) {
  return ({ dispatch, logger }: { dispatch: Dispatch; logger: unknown }): Driver => {
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
  readonly #dispatch: Dispatch
  readonly #watch: Watch
  #waiting: Told[] = []
  #next = 0
  #lateAt: number | undefined

  constructor(dispatch: Dispatch, watch: Watch) {
    this.#dispatch = dispatch
    this.#watch = watch
  }

  add(name: string, data: unknown): void {
    // What comes before a new terminal would not be seen any more.
    if (name === 'reset') this.#dropDrawing()
    if (name === 'output' && Array.isArray(data)) {
      for (const { time, pieces } of data as readonly Drawing[])
        for (const piece of pieces) this.#waiting.push({ name, data: piece, time })
    } else this.#waiting.push({ name, data })
    if (this.#lateAt === undefined) this.#draw()
  }

  #dropDrawing(): void {
    const drawing = ['reset', 'resize', 'output']
    this.#waiting = this.#waiting.slice(this.#next).filter(({ name }) => !drawing.includes(name))
    this.#next = 0
  }

  /** Draws what waits, until the slice is over; then goes on after the page had its turn. */
  #draw(): void {
    const now = performance.now()
    this.#lateAt ??= now + lateMs
    for (let told = this.#take(); told !== undefined; told = this.#take()) {
      const { name, data, time } = told
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

  #take(): Told | undefined {
    return this.#waiting[this.#next++]
  }
}
