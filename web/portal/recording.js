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
  const reader = new EventReader(drawnSize(term?.cols, term?.rows, usual))
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
  const { cols, rows, events, shrunk } = reader
  if (shrunk || isLarger(term?.cols, term?.rows)) {
    remark(
      `The terminal was larger than ${largest.cols} × ${largest.rows}, and is drawn in that size.`,
    )
  }
  return { cols, rows, events }
}

/** Makes the player's events of the recording's lines: `[milliseconds, code, data]`. */
class EventReader {
  cols
  rows
  events = []
  /** Whether a size was larger than what is drawn. */
  shrunk = false
  #time = 0
  #size
  #text

  constructor(size) {
    this.cols = size.cols
    this.rows = size.rows
    this.#size = size
    this.#text = new TerminalText(size.cols, size.rows)
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
    const [cols, rows] = data.split('x').map(Number)
    this.shrunk ||= isLarger(cols, rows)
    this.#size = drawnSize(cols, rows, this.#size)
    this.#text.resize(this.#size.cols, this.#size.rows)
    return `${this.#size.cols}x${this.#size.rows}`
  }
}

function parse(line) {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function isLarger(cols, rows) {
  return cols > largest.cols || rows > largest.rows
}

function drawnSize(cols, rows, fallback) {
  const within = (value, name) =>
    value >= 1
      ? Math.min(Math.max(Math.floor(value), smallest[name]), largest[name])
      : fallback[name]
  return { cols: within(cols, 'cols'), rows: within(rows, 'rows') }
}
