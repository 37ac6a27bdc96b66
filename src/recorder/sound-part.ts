import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { parseEvent, parseHeader } from './asciicast.ts'
import { EventScan } from './event-scan.ts'
import { type KeptWitness, WitnessCheck } from './witness.ts'

/** The marker at the end of a recording that was cut off. */
export const interruptionNote = 'recording interrupted: the bastion stopped'
/** No line of ours is longer. */
const lineBytesMax = 4 * 1024 * 1024
/** Between looks at the clock. */
const stepBytes = 4096
/** Between looks at the clock where each byte may have its point. */
const pieceBytes = 256
/** So long the reading of recordings holds up the process in a turn of its loop. */
const sliceMs = 2
const newline = 0x0a
const hashSign = 0x23

let lastTurn: Promise<unknown> = Promise.resolve()

/** However many recordings are read at a time: one of them has a slice in a turn of the loop. */
function nextTurn(): Promise<unknown> {
  lastTurn = lastTurn.then(() => setImmediate())
  return lastTurn
}

/**
 * The part of a recording up to the first line that is not whole and ours, with its digest.
 *
 * Somebody may have written lines that are tiny and many, and people log in meanwhile: so lines are read in
 * their place, and in slices.
 */
export class SoundPart {
  bytes = 0
  events = 0
  outputs = 0
  seconds = 0
  startedMs: number | undefined
  /** Whether the last event is the marker of an earlier repair. */
  noted = false
  readonly hash = createHash('sha256')
  readonly check: WitnessCheck | undefined
  readonly #scan = new EventScan()
  #hasHeader = false
  /** The beginning of a line that the next chunk continues. */
  #rest: Buffer[] = []
  #restBytes = 0
  #sliceEndMs = 0

  constructor(witness: KeptWitness | undefined) {
    this.check = witness && new WitnessCheck(witness)
  }

  /** Bytes that were read so far. */
  get readBytes(): number {
    return this.bytes + this.#restBytes
  }

  /** False at a line that a crash, or another program, spoiled: nothing after it is read. */
  async add(chunk: Buffer): Promise<boolean> {
    let at = 0
    if (this.#restBytes > 0) {
      const end = chunk.indexOf(newline) + 1
      if (end === 0) return this.#keepRest(chunk)
      const line = Buffer.concat([...this.#rest, chunk.subarray(0, end)])
      this.#rest = []
      this.#restBytes = 0
      if ((await this.#addLines(line, 0)) !== 'end') return false
      at = end
    }
    const stop = await this.#addLines(chunk, at)
    if (stop === 'spoiled') return false
    return stop === 'end' || this.#keepRest(chunk.subarray(stop))
  }

  #keepRest(bytes: Buffer): boolean {
    this.#rest.push(bytes)
    this.#restBytes += bytes.length
    return this.#restBytes <= lineBytesMax
  }

  /** Adds the lines from a position on. Answers where it stopped: a number is where a torn line begins. */
  async #addLines(bytes: Buffer, from: number): Promise<'end' | 'spoiled' | number> {
    for (let at = from; at < bytes.length; ) {
      if (performance.now() > this.#sliceEndMs) await this.#nextSlice()
      const { end, stop } = this.#addStep(bytes, at)
      const added = bytes.subarray(at, end)
      this.bytes += added.length
      this.hash.update(added)
      if (this.check !== undefined) await this.#compare(this.check, added)
      at = end
      if (stop !== undefined) return stop === 'spoiled' ? stop : at
    }
    return 'end'
  }

  async #nextSlice(): Promise<void> {
    await nextTurn()
    this.#sliceEndMs = performance.now() + sliceMs
  }

  /** A worker may have told a point for each byte, and each costs a digest. */
  async #compare(check: WitnessCheck, bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      check.push(bytes.subarray(at, at + pieceBytes))
      if (performance.now() > this.#sliceEndMs) await this.#nextSlice()
    }
  }

  #addStep(bytes: Buffer, from: number): { end: number; stop?: 'spoiled' | 'torn' } {
    let at = from
    while (at < bytes.length && at - from < stepBytes) {
      const scanned = this.#hasHeader ? this.#scan.read(bytes, at) : 0
      if (scanned > 0) {
        this.#count(this.#scan.interval, this.#scan.isOutput)
        at = scanned
        continue
      }
      const end = bytes.indexOf(newline, at) + 1
      if (end === 0) return { end: at, stop: 'torn' }
      if (!this.#addLine(bytes.subarray(at, end))) return { end: at, stop: 'spoiled' }
      at = end
    }
    return { end: at }
  }

  /** A line that is not in the form in which we write most. */
  #addLine(line: Buffer): boolean {
    if (this.#hasHeader && line[0] === hashSign) return true
    try {
      const text = line.toString('utf8')
      if (this.#hasHeader) {
        const { interval, code, data } = parseEvent(text)
        this.#count(interval, code === 'o')
        this.noted = code === 'm' && data === interruptionNote
        return true
      }
      const { timestamp } = parseHeader(text)
      this.startedMs = timestamp === undefined ? undefined : timestamp * 1000
      this.#hasHeader = true
      return true
    } catch {
      // CastInvalid.
      return false
    }
  }

  #count(interval: number, isOutput: boolean): void {
    this.events++
    if (isOutput) this.outputs++
    this.seconds += interval
    this.noted = false
  }
}
