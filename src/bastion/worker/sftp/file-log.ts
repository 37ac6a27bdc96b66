import { Fifo } from '../../../fifo.ts'
import type { FileOperation } from '../../wire/calls.ts'

/** Of paths, as they cross the pipe. */
const batchBytesMax = 512 * 1024
/** Operations of one session, and bytes of their paths, that may wait for their record. */
const unrecordedMax = 1024
const unrecordedBytesMax = 256 * 1024

export interface FileLogOptions {
  /** The operations are on record when it resolves. One write is under way at a time. */
  write(operations: readonly FileOperation[]): Promise<void>
  /** Is called once: the session may not go on without its record. */
  failed(err: unknown): void
  /** More is on record. */
  progressed(): void
  /** Operations of one write. */
  readonly batchMax: number
}

/**
 * Puts operations on record in their order: on the log, or into the memory of the main process. One write
 * is under way at a time, and the next one takes all operations that came meanwhile. So a client makes
 * few writes, whatever it cut its requests into.
 */
export class FileLog {
  readonly #options: FileLogOptions
  #waiting: FileOperation[] = []
  #waitingBytes = 0
  #writing: Promise<void> | undefined
  #added = 0
  #recorded = 0
  readonly #acts = new Fifo<{ readonly count: number; readonly act: () => void }>()
  #isOver = false

  constructor(options: FileLogOptions) {
    this.#options = options
  }

  add(operation: FileOperation): void {
    if (this.#isOver) return
    this.#added++
    this.#waiting.push(operation)
    this.#waitingBytes += sizeOf(operation)
    // Operations that come in the same turn go along.
    this.#writing ??= Promise.resolve().then(() => this.#writeAll())
  }

  /** How many operations were added so far. */
  get added(): number {
    return this.#added
  }

  /** How many acts wait for what was added before them. */
  get acts(): number {
    return this.#acts.size
  }

  /** Everything that was added is on record. */
  get isIdle(): boolean {
    return this.#recorded === this.#added
  }

  /** More waits for its record than the client should add to: its next requests are held back. */
  get isBusy(): boolean {
    return this.#added - this.#recorded >= unrecordedMax || this.#waitingBytes >= unrecordedBytesMax
  }

  /** Calls back once everything that was added so far is on record. After a failure or a stop it never does. */
  whenRecorded(act: () => void): void {
    if (this.#isOver) return
    // One that is called back meanwhile may come here: the others are before it.
    if (this.isIdle && this.#acts.size === 0) act()
    else this.#acts.push({ count: this.#added, act })
  }

  /** No further write begins, and nobody is called back. */
  stop(): void {
    this.#isOver = true
    this.#waiting = []
    this.#acts.drain()
  }

  /** Resolves when everything that was added is on record, or cannot be. */
  async flush(): Promise<void> {
    await this.#writing
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const [batch = []] = batches(this.#waiting, this.#options.batchMax, batchBytesMax)
        this.#waiting.splice(0, batch.length)
        await this.#options.write(batch)
        this.#recorded += batch.length
        for (const operation of batch) this.#waitingBytes -= sizeOf(operation)
        this.#settle()
        if (!this.#isOver) this.#options.progressed()
      }
    } catch (err) {
      if (this.#isOver) return
      this.stop()
      this.#options.failed(err)
    } finally {
      this.#writing = undefined
    }
  }

  #settle(): void {
    while ((this.#acts.first?.count ?? Number.POSITIVE_INFINITY) <= this.#recorded) {
      this.#acts.shift()?.act()
    }
  }
}

/** Cuts operations into lists, limited in number and in the bytes of their paths. */
export function* batches(
  operations: readonly FileOperation[],
  countMax: number,
  bytesMax: number,
): Generator<readonly FileOperation[]> {
  let batch: FileOperation[] = []
  let bytes = 0
  for (const operation of operations) {
    const more = (operation.path?.length ?? 0) + (operation.to?.length ?? 0)
    if (batch.length > 0 && (batch.length >= countMax || bytes + more > bytesMax)) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(operation)
    bytes += more
  }
  if (batch.length > 0) yield batch
}

function sizeOf({ path, to }: FileOperation): number {
  return (path?.length ?? 0) + (to?.length ?? 0)
}
