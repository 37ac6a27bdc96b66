import { ReplayClock } from './replay-clock.ts'
import { clock as shownTime } from './replay-notes.ts'
import { TerminalText } from './terminal-text.ts'

/** The smallest terminal that the player draws without an error, and the largest that it draws fast. */
const smallest = { cols: 2, rows: 1 }
const largest = { cols: 300, rows: 100 }
const usual = { cols: 80, rows: 24 }

/** Reading goes on at once after others of the page had their turn. */
const turnMs = 40
/** Longer pauses are of no session: a clock that cannot be drawn would come of them. */
const intervalMax = 31_536_000
const marksMax = 1000

interface Size {
  readonly cols: number
  readonly rows: number
}

/** Output of one event, in pieces that are drawn in some milliseconds. */
export interface Drawing {
  /** Of the replay, in milliseconds. */
  readonly time: number
  readonly pieces: readonly string[]
}

/** Something that happened, beside output. */
export interface Mark {
  readonly kind: 'marker' | 'resize'
  /** As it stands in the recording: show it as text. */
  readonly label: string
  /** Of the session, in milliseconds. */
  readonly at: number
}

export interface Replay extends Size {
  /** `[milliseconds of the replay, code, data]`, for the player. */
  readonly events: readonly [number, string, unknown][]
  readonly clock: ReplayClock
  readonly marks: readonly Mark[]
}

/**
 * Reads a recording for the player. Nothing in it is trusted: an older bastion or somebody else may
 * have written it.
 *
 * @param remark is called with what the page should say about it.
 * @param pauseMax seconds: longer pauses are shortened to this.
 */
export async function readRecording(
  response: Response,
  remark: (text: string) => void,
  pauseMax: number,
): Promise<Replay> {
  const [first = '', ...lines] = (await response.text()).split('\n')
  const { version, term } = JSON.parse(first)
  if (version !== 3) throw new Error('not an asciicast v3 recording')
  const reader = new EventReader(term, pauseMax)
  let turnEnds = performance.now() + turnMs
  for (const [index, line] of lines.entries()) {
    if (line === '' || line.startsWith('#')) continue
    if (!reader.read(line)) {
      remark(`Line ${index + 2} of the recording cannot be read, and the replay ends there.`)
      break
    }
    if (performance.now() > turnEnds) {
      await new Promise((resolve) => setTimeout(resolve))
      turnEnds = performance.now() + turnMs
    }
  }
  const { cols, rows, events, clock, marks, otherSizeAt } = reader
  if (otherSizeAt !== undefined) {
    const sizes = `larger than ${largest.cols} × ${largest.rows}, or smaller than ${smallest.cols} × ${smallest.rows}`
    remark(
      `From ${shownTime(otherSizeAt)} on, the terminal is drawn in another size than it had: it was ${sizes}.`,
    )
  }
  return { cols, rows, events, clock, marks }
}

/** Makes the player's events of the recording's lines. */
class EventReader {
  readonly cols: number
  readonly rows: number
  readonly events: [number, string, unknown][] = []
  readonly clock = new ReplayClock()
  readonly marks: Mark[] = []
  /** When the terminal first had a size that is not drawn, in milliseconds of the replay. */
  otherSizeAt: number | undefined
  #time = 0
  #sessionTime = 0
  #size: Size = usual
  readonly #pauseMax: number
  readonly #text: TerminalText

  constructor(
    term: { readonly cols?: unknown; readonly rows?: unknown } | undefined,
    pauseMax: number,
  ) {
    this.#resize(term?.cols, term?.rows)
    this.cols = this.#size.cols
    this.rows = this.#size.rows
    this.#pauseMax = pauseMax
    this.#text = new TerminalText(this.cols, this.rows)
  }

  /** Whether the line could be read. */
  read(line: string): boolean {
    const event = parse(line)
    if (!Array.isArray(event)) return false
    const [interval, code, data] = event
    if (!(interval >= 0) || typeof code !== 'string' || typeof data !== 'string') return false
    this.#time += Math.min(interval, this.#pauseMax, intervalMax) * 1000
    this.#sessionTime += Math.min(interval, intervalMax) * 1000
    this.clock.add(this.#time, this.#sessionTime)
    this.events.push([this.#time, code, this.#drawn(code, data)])
    return true
  }

  #drawn(code: string, data: string): unknown {
    if (code === 'o') return { time: this.#time, pieces: this.#text.write(data) }
    if (code === 'm') this.#mark('marker', data)
    if (code !== 'r') return data
    const [asked, askedRows] = data.split('x').map(Number)
    this.#resize(asked, askedRows)
    const { cols, rows } = this.#size
    this.#text.resize(cols, rows)
    this.#mark('resize', `${cols} × ${rows}`)
    return `${cols}x${rows}`
  }

  #resize(cols: unknown, rows: unknown): void {
    this.#size = drawnSize(cols, rows, this.#size)
    if (cols !== this.#size.cols || rows !== this.#size.rows) this.otherSizeAt ??= this.#time
  }

  #mark(kind: Mark['kind'], label: string): void {
    if (this.marks.length < marksMax) this.marks.push({ kind, label, at: this.#sessionTime })
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function drawnSize(cols: unknown, rows: unknown, fallback: Size): Size {
  const within = (value: unknown, name: 'cols' | 'rows') =>
    Number(value) >= 1
      ? Math.min(Math.max(Math.floor(Number(value)), smallest[name]), largest[name])
      : fallback[name]
  return { cols: within(cols, 'cols'), rows: within(rows, 'rows') }
}
