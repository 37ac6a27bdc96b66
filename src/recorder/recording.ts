import { createHash, type Hash } from 'node:crypto'
import {
  type CastFacts,
  clampSize,
  EventFormat,
  formatHeader,
  label,
  type Size,
} from './asciicast.ts'
import type { Journal, JournalDigest } from './journal.ts'
import { freshState, OutputDecoder, type OutputText, ShownAs } from './output-text.ts'
import { Tail } from './tail.ts'
import type { RecordingPoint } from './witness.ts'

/** Of a stream's every byte, those not kept in the recording among them. */
export interface StreamDigest {
  readonly bytes: number
  /** In hex. */
  readonly sha256: string
}

/** The digest of a recording at its end. */
export interface RecordingDigest extends JournalDigest {
  readonly events: number
  readonly durationMs: number
  /** There was neither output nor input: the file is not kept. */
  readonly empty: boolean
  /**
   * Digests of the whole streams, if the recording keeps only a part of them: only without a
   * terminal.
   */
  readonly streams?: { readonly output: StreamDigest; readonly errorOutput: StreamDigest }
}

/** One session's record, while it runs. */
export interface Recording {
  /**
   * Something came from the target. `written` runs, in the order of the calls and never before the
   * call's bytes are in the file; the bytes may reach the user then, and not before. After a
   * failure it does not run. Hand over more than a window's worth only when it has run.
   */
  output(chunk: Buffer, written: () => void): void
  errorOutput(chunk: Buffer, written: () => void): void
  /** The user sent input. Its contents are not recorded. */
  inputSeen(): void
  resize(cols: number, rows: number): void
  marker(text: string): void
  /** The exit status as digits, or the name of the signal. */
  exit(status: string): void
  /** Resolves when all of it is durable, or when a failure says that it will not be. Never rejects. */
  end(): Promise<RecordingDigest>
}

/** How much output of a command without a terminal is kept: its beginning and its end. */
export interface Kept {
  readonly firstBytes: number
  readonly lastBytes: number
  /** All that comes on stderr is kept: others bound it. */
  readonly errorsWhole?: boolean
}

/** A chunk is cut into events no longer than this, which any reader takes. */
const eventBytesMax = 64 * 1024

/** A recording in a journal. */
export class JournalRecording implements Recording {
  readonly #journal: Journal
  readonly #format: EventFormat
  readonly #onEnd: (digest: RecordingDigest) => Promise<void>
  readonly #startedMs = performance.now()
  readonly #decoders: { readonly output: OutputDecoder; readonly errorOutput: OutputDecoder }
  readonly #shown = new ShownAs()
  readonly #command: CommandOutput | undefined
  #events = 0
  #size: Size
  #resizing = false
  #touched = false
  #ended: Promise<RecordingDigest> | undefined

  constructor(
    journal: Journal,
    facts: CastFacts,
    options: {
      /** Undefined keeps everything. */
      readonly kept: Kept | undefined
      onEnd(digest: RecordingDigest): Promise<void>
    },
  ) {
    this.#journal = journal
    this.#onEnd = options.onEnd
    const { kept } = options
    const newDecoder = () => new OutputDecoder(kept === undefined, this.#shown)
    this.#decoders = { output: newDecoder(), errorOutput: newDecoder() }
    this.#command = kept === undefined ? undefined : new CommandOutput(kept)
    this.#size = clampSize(facts.cols, facts.rows)
    journal.append(formatHeader(facts))
    this.#format = new EventFormat(() => performance.now() * 1000)
  }

  output(chunk: Buffer, written: () => void): void {
    this.#out('output', chunk, written)
  }

  errorOutput(chunk: Buffer, written: () => void): void {
    this.#out('errorOutput', chunk, written)
  }

  inputSeen(): void {
    this.#touched = true
  }

  resize(cols: number, rows: number): void {
    if (this.#over) return
    const size = clampSize(cols, rows, this.#size)
    if (size.cols === this.#size.cols && size.rows === this.#size.rows) return
    this.#size = size
    // A client may send these without end and does not wait: each write takes only the latest.
    if (this.#resizing) return
    this.#resizing = true
    this.#journal.append(() => {
      this.#resizing = false
      this.#events++
      return this.#format.line('r', `${this.#size.cols}x${this.#size.rows}`)
    })
  }

  marker(text: string): void {
    if (!this.#over) this.#event('m', label(text))
  }

  exit(status: string): void {
    if (this.#over) return
    this.#showTail()
    this.#event('x', label(status))
  }

  /** Passes on a durable point, once it is certain that the recording is kept. */
  tellPoint(point: RecordingPoint, tell: ((point: RecordingPoint) => void) | undefined): void {
    if (this.#touched) tell?.(point)
  }

  end(): Promise<RecordingDigest> {
    this.#ended ??= this.#finish()
    return this.#ended
  }

  get #over(): boolean {
    return this.#ended !== undefined || this.#journal.failed
  }

  #out(stream: 'output' | 'errorOutput', chunk: Buffer, written: () => void): void {
    if (this.#over) return
    this.#touched = true
    const shown = this.#command === undefined ? chunk : this.#command.take(stream, chunk)
    for (let at = 0; at < shown.length; at += eventBytesMax) {
      this.#text(this.#decoders[stream].decode(shown.subarray(at, at + eventBytesMax)))
    }
    this.#journal.append(undefined, written)
  }

  #text({ text, exact }: OutputText): void {
    this.#event('o', text)
    if (exact === undefined) return
    this.#events++
    this.#journal.append(this.#format.line('b', exact.toString('base64'), 'same instant'))
  }

  #event(code: 'o' | 'm' | 'x', data: string): void {
    this.#events++
    this.#journal.append(this.#format.line(code, data))
  }

  /** Ends incomplete characters, and shows the end of an output that was too long. */
  #showTail(): void {
    for (const decoder of [this.#decoders.output, this.#decoders.errorOutput]) {
      const rest = decoder.end()
      if (rest !== undefined) this.#text(rest)
    }
    const hidden = this.#command?.endHidden()
    if (hidden === undefined) return
    this.#event('m', hidden.note)
    this.#text({ text: freshState, exact: Buffer.alloc(0) })
    // A part of the output is not shown at all: what follows must not act on it.
    this.#shown.isPlain = true
    const decoder = new OutputDecoder(false, this.#shown)
    this.#text(decoder.decode(hidden.tail))
    const rest = decoder.end()
    if (rest !== undefined) this.#text(rest)
  }

  async #finish(): Promise<RecordingDigest> {
    if (!this.#journal.failed) this.#showTail()
    const kept = this.#touched
    const digest: RecordingDigest = {
      ...(await this.#journal.close({ kept })),
      events: this.#events,
      durationMs: Math.round(performance.now() - this.#startedMs),
      empty: !kept,
      ...this.#command?.digests(),
    }
    await this.#onEnd(digest)
    return digest
  }
}

/** The output of a command without a terminal: any amount of it; only a part is kept. */
class CommandOutput {
  readonly #firstBytes: number
  readonly #errorsWhole: boolean
  readonly #tail: Tail
  readonly #streams = { output: new StreamCount(), errorOutput: new StreamCount() }
  #taken = 0
  #noted = false

  constructor({ firstBytes, lastBytes, errorsWhole = false }: Kept) {
    this.#errorsWhole = errorsWhole
    this.#firstBytes = firstBytes
    this.#tail = new Tail(lastBytes)
  }

  /** The part of this chunk to keep now. */
  take(stream: 'output' | 'errorOutput', chunk: Buffer): Buffer {
    this.#streams[stream].count(chunk)
    if (stream === 'errorOutput' && this.#errorsWhole) return chunk
    const room = this.#firstBytes - this.#taken
    if (room >= chunk.length) {
      this.#taken += chunk.length
      return chunk
    }
    this.#taken = this.#firstBytes
    this.#tail.push(chunk.subarray(room))
    return chunk.subarray(0, room)
  }

  /**
   * The end of the output that take() left out, and a note of how much is missing and the digest of
   * the whole. Once.
   */
  endHidden(): { readonly note: string; readonly tail: Buffer } | undefined {
    if (this.#noted || this.#tail.total === 0) return undefined
    this.#noted = true
    const tail = this.#tail.bytes()
    const hidden = this.#tail.total - tail.length
    const { output, errorOutput } = this.#streams
    const whole = `output ${wholeOf(output)}, error output ${wholeOf(errorOutput)}`
    return { note: `${hidden} bytes not shown; the whole: ${whole}`, tail }
  }

  /** Empty if the recording has all of both streams. */
  digests(): Pick<RecordingDigest, 'streams'> {
    if (this.#tail.total === 0) return {}
    const { output, errorOutput } = this.#streams
    return { streams: { output: output.digest(), errorOutput: errorOutput.digest() } }
  }
}

function wholeOf(stream: StreamCount): string {
  const { bytes, sha256 } = stream.digest()
  return `${bytes} bytes SHA-256 ${sha256}`
}

class StreamCount {
  #bytes = 0
  readonly #hash: Hash = createHash('sha256')

  count(chunk: Buffer): void {
    this.#bytes += chunk.length
    this.#hash.update(chunk)
  }

  digest(): StreamDigest {
    return { bytes: this.#bytes, sha256: this.#hash.copy().digest('hex') }
  }
}
