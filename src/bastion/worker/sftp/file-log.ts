import type { FileOperation } from '../../wire/calls.ts'

const batchMax = 50
const waitMs = 200
/** Beyond these nobody is served any faster than the log takes it. */
const waitingMax = 5000

/** Puts operations on record in the order in which they came, a few at a time. */
export class FileLog {
  readonly #write: (operations: readonly FileOperation[]) => Promise<void>
  readonly #failed: (err: unknown) => void
  #waiting: FileOperation[] = []
  #writing: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #hasFailed = false
  #isEnding = false

  /** failed is called once: what is not on record may not go on. */
  constructor(
    write: (operations: readonly FileOperation[]) => Promise<void>,
    failed: (err: unknown) => void,
  ) {
    this.#write = write
    this.#failed = failed
  }

  add(operation: FileOperation): void {
    if (this.#hasFailed) return
    this.#waiting.push(operation)
    if (this.#waiting.length > waitingMax && !this.#isEnding) {
      return this.#fail(new Error('the log is too slow'))
    }
    if (this.#waiting.length >= batchMax) this.#flushLater()
    else this.#timer ??= setTimeout(() => this.#flushLater(), waitMs)
  }

  /** What is still told is all that there will be, and nobody waits to be served: none of it is dropped. */
  ending(): void {
    this.#isEnding = true
  }

  /** Resolves when all that came before is on record, or cannot be. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined
    })
    await this.#writing
  }

  /** Writing tells of its own failures. */
  #flushLater(): void {
    this.flush().catch((err: unknown) => this.#fail(err))
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0 && !this.#hasFailed) {
        await this.#write(this.#waiting.splice(0, batchMax))
      }
    } catch (err) {
      this.#fail(err)
    }
  }

  #fail(err: unknown): void {
    if (this.#hasFailed) return
    this.#hasFailed = true
    this.#waiting = []
    this.#failed(err)
  }
}
