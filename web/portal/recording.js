import { clock } from './replay-notes.js'
import { TerminalText } from './terminal-text.js'

/** The smallest terminal that the player draws without an error, and the largest that it draws fast. */
const smallest = { cols: 2, rows: 1 }
const largest = { cols: 300, rows: 100 }
const usual = { cols: 80, rows: 24 }

/** Longer pauses are shortened to this many seconds. */
const pauseMax = 2
/** Reading goes on at once after others of the page had their turn. */
const turnMs = 40

/**
 * Reads a recording for the player. Nothing in it is trusted: an older bastion or somebody else may
 * have written it.
 *
 * @param remark is called with what the page should say about it.
 */
export async function readRecording(response, remark) {
  const [first, ...lines] = (await response.text()).split('\n')
  const { version, term } = JSON.parse(first)
  if (version !== 3) throw new Error('not an asciicast v3 recording')
  const reader = new EventReader(term)
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
  const { cols, rows, events, otherSizeAt } = reader
  if (otherSizeAt !== undefined) {
    const sizes = `larger than ${largest.cols} × ${largest.rows}, or smaller than ${smallest.cols} × ${smallest.rows}`
    remark(
      `From ${clock(otherSizeAt)} on, the terminal is drawn in another size than it had: it was ${sizes}.`,
    )
  }
  return { cols, rows, events }
}

/** Makes the player's events of the recording's lines: `[milliseconds, code, data]`. */
class EventReader {
  cols
  rows
  events = []
  /** When the terminal first had a size that is not drawn. */
  otherSizeAt
  #time = 0
  #size = usual
  #text

  constructor(term) {
    this.#resize(term?.cols, term?.rows)
    this.cols = this.#size.cols
    this.rows = this.#size.rows
    this.#text = new TerminalText(this.cols, this.rows)
  }

  /** Whether the line could be read. */
  read(line) {
    const event = parse(line)
    if (!Array.isArray(event)) return false
    const [interval, code, data] = event
    if (!(interval >= 0) || typeof code !== 'string' || typeof data !== 'string') return false
    this.#time += Math.min(interval, pauseMax) * 1000
    this.events.push([this.#time, code, this.#drawn(code, data)])
    return true
  }

  #drawn(code, data) {
    if (code === 'o') return { time: this.#time, pieces: this.#text.write(data) }
    if (code !== 'r') return data
    this.#resize(...data.split('x').map(Number))
    const { cols, rows } = this.#size
    this.#text.resize(cols, rows)
    return `${cols}x${rows}`
  }

  #resize(cols, rows) {
    this.#size = drawnSize(cols, rows, this.#size)
    if (cols !== this.#size.cols || rows !== this.#size.rows) this.otherSizeAt ??= this.#time
  }
}

function parse(line) {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function drawnSize(cols, rows, fallback) {
  const within = (value, name) =>
    value >= 1
      ? Math.min(Math.max(Math.floor(value), smallest[name]), largest[name])
      : fallback[name]
  return { cols: within(cols, 'cols'), rows: within(rows, 'rows') }
}
