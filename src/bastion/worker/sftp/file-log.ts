import type { FileOperation } from '../../wire/calls.ts'

const batchMax = 100
/** Of paths, as they cross the pipe. */
const batchBytesMax = 512 * 1024
/** Operations of one session, and bytes of their paths, that may wait for their record. */
const unrecordedMax = 1024
const unrecordedBytesMax = 256 * 1024

/**
 * Puts operations on record in their order. One write is under way at a time, and the next one
 * takes all operations that came meanwhile.
 */
export class FileLog {
  readonly #write: (operations: readonly FileOperation[]) => Promise<void>
  readonly #failed: (err: unknown) => void
  readonly #progressed: () => void
  #waiting: FileOperation[] = []
  #waitingBytes = 0
  #writing: Promise<void> | undefined
  #added = 0
  #recorded = 0
  readonly #awaiting: { readonly count: number; readonly act: () => void }[] = []
  #hasFailed = false

  /**
   * failed is called once: the session may not go on without its record. progressed is called whenever
   * more is on record.
   */
  constructor(
    write: (operations: readonly FileOperation[]) => Promise<void>,
    failed: (err: unknown) => void,
    progressed: () => void = () => {},
  ) {
    this.#write = write
    this.#failed = failed
    this.#progressed = progressed
  }

  add(operation: FileOperation): void {
    if (this.#hasFailed) return
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

  /** Everything that was added is on record. */
  get isIdle(): boolean {
    return this.#recorded === this.#added
  }

  /** More waits for its record than the client should add to: its next requests are held back. */
  get isBusy(): boolean {
    return this.#added - this.#recorded >= unrecordedMax || this.#waitingBytes >= unrecordedBytesMax
  }

  /** Calls back once everything that was added so far is on record. After a failure it never does. */
  whenRecorded(act: () => void): void {
    if (this.#hasFailed) return
    if (this.isIdle) act()
    else this.#awaiting.push({ count: this.#added, act })
  }

  /** Resolves when everything that was added is on record, or cannot be. */
  async flush(): Promise<void> {
    await this.#writing
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0 && !this.#hasFailed) {
        const [batch = []] = batches(this.#waiting, batchMax, batchBytesMax)
        this.#waiting.splice(0, batch.length)
        await this.#write(batch)
        this.#recorded += batch.length
        for (const operation of batch) this.#waitingBytes -= sizeOf(operation)
        this.#settle()
        this.#progressed()
      }
    } catch (err) {
      this.#hasFailed = true
      this.#waiting = []
      this.#failed(err)
    } finally {
      this.#writing = undefined
    }
  }

  #settle(): void {
    for (;;) {
      const next = this.#awaiting[0]
      if (next === undefined || next.count > this.#recorded || this.#hasFailed) return
      this.#awaiting.shift()
      next.act()
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
