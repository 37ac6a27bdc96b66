import 'asciinema-player/dist/bundle/asciinema-player.css'
import { signal } from '@preact/signals'
import { create } from 'asciinema-player'
import type { CoreOptions, CoreSource, Driver, Where } from 'asciinema-player-core'
import { pacedDriver } from './paced-driver.ts'
import { type Mark, type Replay, readRecording } from './recording.ts'
import { ReplayNotes } from './replay-notes.ts'

/** Longer pauses are shortened to this many seconds, unless the reader wants them whole. */
const pauseMax = 2
const wholePauses = Number.POSITIVE_INFINITY
const speeds = [0.5, 1, 2, 4, 8]

/** The player, which takes a driver of ours: its types know only recordings. */
interface Player extends Pick<Driver, 'play' | 'pause' | 'getCurrentTime'> {
  dispose(): void
  seek(where: Where): Promise<boolean>
  addEventListener(name: string, listener: () => void): void
}
type CreatePlayer = (driver: unknown, place: HTMLElement, options: object) => Player

/** What the reader has set. */
export interface ReplaySettings {
  readonly skipsIdle: boolean
  readonly speed: number
}

/** What the page knows of the recording. Times are in milliseconds. */
export interface ReplayFacts {
  readonly marks: readonly Mark[]
  /** Of the session. */
  readonly wholeMs: number
  /** Of the replay, with its pauses as they are set. */
  readonly watchMs: number
}

/**
 * The replay of one recording on a page, and says so where it cannot show all of it.
 *
 * Positions are times of the session: they stay true when pauses are shortened. Each reading of the
 * recording is on the audit log, so it is read once, whatever the reader changes later.
 */
export class Replayer {
  readonly settings = signal<ReplaySettings>({ skipsIdle: true, speed: 1 })
  readonly facts = signal<ReplayFacts | undefined>(undefined)
  /** Where it is, in the session. */
  readonly at = signal(0)
  readonly #recording: string
  readonly #url: string
  readonly #place: HTMLElement
  readonly #notesPlace: HTMLElement
  #notes: ReplayNotes | undefined
  #player: Player | undefined
  #replay: Replay | undefined
  #isPlaying = false
  readonly #stop = new AbortController()

  constructor(
    recording: string,
    url: string,
    { place, notes }: { readonly place: HTMLElement; readonly notes: HTMLElement },
  ) {
    this.#recording = recording
    this.#url = url
    this.#place = place
    this.#notesPlace = notes
    this.#watchFailures()
    const timer = setInterval(() => this.#look(), 250)
    this.#stop.signal.addEventListener('abort', () => clearInterval(timer))
  }

  /** Shows the picture at a time of the session; undefined: the first one. */
  open(at: number | undefined): void {
    this.#close()
    const notes = this.#renewNotes()
    const { speed, skipsIdle } = this.settings.value
    const parser = async (response: Response) => {
      const pauses = skipsIdle ? pauseMax : wholePauses
      const replay = await readRecording(response, (remark) => notes.remark(remark), pauses)
      this.#keep(replay)
      return replay
    }
    const source: CoreSource = { data: () => new Response(this.#recording), parser }
    const options: CoreOptions = {
      preload: true,
      speed,
      ...(at === undefined && { poster: 'npt:0:00.2' }),
    }
    this.#player = (create as unknown as CreatePlayer)(
      pacedDriver(source, options, notes),
      this.#place,
      { fit: 'both', terminalFontSize: '15px', controls: true, logger: loggerOf(notes) },
    )
    this.#player.addEventListener('playing', () => {
      this.#isPlaying = true
    })
    for (const name of ['pause', 'ended'])
      this.#player.addEventListener(name, () => {
        this.#isPlaying = false
      })
    if (at !== undefined) void this.#seekWhenRead(at)
  }

  /** The reader's place and whether it plays stay as they are. */
  set(change: Partial<ReplaySettings>): void {
    const [at, wasPlaying] = [this.at.value, this.#isPlaying]
    this.settings.value = { ...this.settings.value, ...change }
    this.open(at)
    if (wasPlaying) void this.#player?.play()
  }

  /** The next speed, or the one before; the first after the last. */
  changeSpeed(by: number, isRound = false): void {
    const now = speeds.indexOf(this.settings.value.speed)
    const next = isRound
      ? (now + by) % speeds.length
      : Math.min(Math.max(now + by, 0), speeds.length - 1)
    const speed = speeds[next] ?? 1
    if (next !== now) this.set({ speed })
  }

  togglePlay(): void {
    void (this.#isPlaying ? this.#player?.pause() : this.#player?.play())
  }

  /** To a place of the player: a part, or a marker. */
  seek(where: Where): void {
    void this.#player?.seek(where)
  }

  /** To a time of the session. */
  seekTo(at: number): void {
    if (this.#replay !== undefined) this.seek(this.#replay.clock.toReplay(at) / 1000)
  }

  /** By seconds of the replay. */
  skip(seconds: number): void {
    const now = this.#player?.getCurrentTime() ?? 0
    this.seek(Math.max(0, now + seconds))
  }

  toggleFullScreen(): void {
    if (document.fullscreenElement !== null) void document.exitFullscreen()
    else void this.#place.querySelector('.ap-wrapper')?.requestFullscreen()
  }

  dispose(): void {
    this.#stop.abort()
    this.#close()
  }

  async #seekWhenRead(at: number): Promise<void> {
    const player = this.#player
    // The first seek reads the recording; before, its times are not known.
    await player?.seek(0)
    if (player === this.#player) this.seekTo(at)
  }

  #keep(replay: Replay): void {
    this.#replay = replay
    const { clock, marks } = replay
    this.facts.value = { marks, wholeMs: clock.sessionEnd, watchMs: clock.replayEnd }
  }

  #look(): void {
    const time = this.#player?.getCurrentTime()
    if (time !== undefined && this.#replay !== undefined)
      this.at.value = this.#replay.clock.toSession(time * 1000)
  }

  #close(): void {
    // Its queue draws nothing more.
    if (this.#notes !== undefined) this.#notes.failed = true
    this.#player?.dispose()
    this.#player = undefined
    this.#isPlaying = false
  }

  #renewNotes(): ReplayNotes {
    this.#notesPlace.replaceChildren()
    this.#notesPlace.hidden = true
    this.#notes = new ReplayNotes(this.#notesPlace, this.#url)
    return this.#notes
  }

  /** What fails in the player's terminal is told by its logger; what fails while it draws, to the window. */
  #watchFailures(): void {
    const { signal } = this.#stop
    const told = ({ error }: ErrorEvent) => {
      // Without an error, it is a notice of the browser, such as of an element that was resized twice.
      if (error) this.#notes?.fail()
    }
    window.addEventListener('error', told, { signal })
    window.addEventListener('unhandledrejection', () => this.#notes?.fail(), { signal })
  }
}

function loggerOf(notes: ReplayNotes): object {
  const ignore = () => {}
  return { log: ignore, debug: ignore, info: ignore, warn: ignore, error: () => notes.fail() }
}
