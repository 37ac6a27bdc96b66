import { createHash } from 'node:crypto'
import { RecordingFailed, recordingFailed } from './errors.ts'
import type { StoredFile } from './store.ts'
import type { RecordingPoint } from './witness.ts'

/** A write or sync that takes longer is a failure: the storage hangs. */
const answerMs = 10_000
/** With the tick of 250 ms, written data is being synced within 950 ms. */
const syncAfterMs = 700

interface Batch {
  readonly lines: (string | (() => string))[]
  readonly written: (() => void)[]
}

/** The pause between two reported points grows with the recording's age, from none to this. */
const pointPauseMaxMs = 5000
/** At this share of its age, and so a point a second for the first ten minutes. */
const pointShare = 1 / 600

/** The digest of a journal at its end. */
export interface JournalDigest {
  readonly bytes: number
  /** Of the file's bytes, in hex. */
  readonly sha256: string
  /** False when it failed: then the digest covers the part that is known to be in the file. */
  readonly complete: boolean
}

/**
 * Lines appended to one file. One write is in flight; later lines go with the next.
 *
 * `written` runs after its line is in the file, in the order of the calls, and never after a
 * failure. Callers wait for it before they hand over further lines; that bounds the memory here.
 */
export class Journal {
  readonly #file: StoredFile
  readonly #onFailure: (err: RecordingFailed) => void
  readonly #onWritten: (bytes: number) => void
  readonly #onDurable: ((point: RecordingPoint) => void) | undefined
  readonly #startedMs = performance.now()
  #toldBytes = 0
  #toldAtMs = 0
  readonly #hash = createHash('sha256')
  #bytes = 0
  #batch: Batch = { lines: [], written: [] }
  #batchSinceMs: number | undefined
  #scheduled = false
  #writingSinceMs: number | undefined
  #syncingSinceMs: number | undefined
  #dirtySinceMs: number | undefined
  #failure: RecordingFailed | undefined
  /** Resolved when there is nothing left to write, or writing has failed. */
  #drained: PromiseWithResolvers<void> | undefined
  #synced: PromiseWithResolvers<void> | undefined
  #mended: Promise<void> | undefined

  constructor(
    file: StoredFile,
    on: {
      failure(err: RecordingFailed): void
      written(bytes: number): void
      /**
       * Reports the number of durable bytes. Called about once a second while there are new ones.
       */
      durable?: ((point: RecordingPoint) => void) | undefined
    },
  ) {
    this.#file = file
    this.#onFailure = on.failure
    this.#onWritten = on.written
    this.#onDurable = on.durable
  }

  get failed(): boolean {
    return this.#failure !== undefined
  }

  /** A line given as a function is made at the time of its write, so that it is the latest. */
  append(line: string | (() => string) | undefined, written?: () => void): void {
    if (this.#failure !== undefined) return
    if (line === undefined && this.#batchSinceMs === undefined && !this.#busy) {
      written?.()
      return
    }
    if (line !== undefined) this.#batch.lines.push(line)
    if (written !== undefined) this.#batch.written.push(written)
    this.#batchSinceMs ??= performance.now()
    if (this.#scheduled || this.#busy) return
    // All that one read of a socket brings goes in one write.
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#write()
    })
  }

  /** Milliseconds for which the oldest line here has waited for the file. */
  lagMs(nowMs: number): number {
    const since = this.#writingSinceMs ?? this.#batchSinceMs
    return since === undefined ? 0 : Math.max(0, nowMs - since)
  }

  /** Watches the time-outs and syncs. Called every quarter of a second. */
  tick(nowMs: number): void {
    const since = Math.min(this.#writingSinceMs ?? nowMs, this.#syncingSinceMs ?? nowMs)
    if (nowMs - since > answerMs) this.#fail(new RecordingFailed('hung'))
    else if (this.#dirtySinceMs !== undefined && nowMs - this.#dirtySinceMs >= syncAfterMs)
      this.#sync()
  }

  /**
   * Resolves when all is written and durable, or has failed. If the file is not kept, resolves when
   * it is written. Do not append after it.
   */
  async close({ kept = true }: { readonly kept?: boolean } = {}): Promise<JournalDigest> {
    if (this.#busy || this.#batchSinceMs !== undefined) {
      this.#drained = Promise.withResolvers()
      await this.#drained.promise
    }
    // A tick would sync a file that is closed by then.
    if (!kept) this.#dirtySinceMs = undefined
    while (!this.failed && (this.#dirtySinceMs !== undefined || this.#synced !== undefined)) {
      this.#sync()
      await this.#synced?.promise
    }
    const closed = answered(this.#file.close()).catch((err: unknown) =>
      this.#fail(recordingFailed(err)),
    )
    // A storage that hangs would hang here too, and the known digest stays as it is.
    if (!this.failed) await closed
    await this.#mended
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex'), complete: !this.failed }
  }

  get #busy(): boolean {
    return this.#writingSinceMs !== undefined
  }

  #write(): void {
    if (this.#failure !== undefined || this.#busy) return
    const { lines, written } = this.#batch
    this.#batch = { lines: [], written: [] }
    this.#batchSinceMs = undefined
    const bytes = Buffer.from(
      lines.map((line) => (typeof line === 'string' ? line : line())).join(''),
    )
    this.#writingSinceMs = performance.now()
    this.#file.append(bytes).then(
      () => {
        if (this.#failure !== undefined) return
        this.#hash.update(bytes)
        this.#bytes += bytes.length
        this.#onWritten(bytes.length)
        this.#dirtySinceMs ??= performance.now()
        this.#writingSinceMs = undefined
        if (this.#batchSinceMs !== undefined) this.#write()
        for (const callback of written) callback()
        if (!this.#busy && this.#batchSinceMs === undefined) this.#drained?.resolve()
      },
      (err: unknown) => {
        // A torn line would spoil the rest for a player; the room it took is given back.
        this.#mended = answered(this.#file.truncate(this.#bytes)).catch(() => undefined)
        this.#fail(recordingFailed(err))
      },
    )
  }

  #sync(): void {
    if (this.#synced !== undefined || this.failed) return
    const synced = Promise.withResolvers<void>()
    this.#synced = synced
    this.#syncingSinceMs = performance.now()
    this.#dirtySinceMs = undefined
    const point = this.#pointDue()
    this.#file.sync().then(
      () => {
        this.#syncingSinceMs = undefined
        this.#synced = undefined
        if (point !== undefined) this.#onDurable?.(point)
        synced.resolve()
      },
      (err: unknown) => this.#fail(recordingFailed(err)),
    )
  }

  /** The point that the sync that begins now makes durable, if it is time to report one. */
  #pointDue(): RecordingPoint | undefined {
    if (this.#onDurable === undefined || this.#bytes === this.#toldBytes) return undefined
    const nowMs = performance.now()
    const pauseMs = Math.min((nowMs - this.#startedMs) * pointShare, pointPauseMaxMs)
    if (nowMs - this.#toldAtMs < pauseMs) return undefined
    this.#toldBytes = this.#bytes
    this.#toldAtMs = nowMs
    return { bytes: this.#bytes, sha256: this.#hash.copy().digest('hex') }
  }

  #fail(err: RecordingFailed): void {
    if (this.#failure !== undefined) return
    this.#failure = err
    this.#batch = { lines: [], written: [] }
    this.#batchSinceMs = undefined
    this.#writingSinceMs = undefined
    this.#syncingSinceMs = undefined
    this.#drained?.resolve()
    this.#synced?.resolve()
    this.#onFailure(err)
  }
}

/** The storage's answer, or a failure when it does not give one. */
export async function answered<T>(answer: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new RecordingFailed('hung')), answerMs)
  try {
    return await Promise.race([answer, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
