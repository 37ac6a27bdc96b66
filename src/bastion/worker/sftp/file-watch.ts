import { Chunks } from '../../../chunks.ts'
import type { CodedError } from '../../../errors.ts'
import { Fifo } from '../../../fifo.ts'
import { background, type Log } from '../../../log.ts'
import type { FileNotes, FileOperation } from '../../wire/calls.ts'
import { FilesExhausted } from '../../wire/errors.ts'
import { FilesUnlogged, SftpUnreadable } from '../errors.ts'
import type { Watch } from '../relay.ts'
import type { KeptFiles } from './file-budget.ts'
import { FileLog } from './file-log.ts'
import { type OpenFile, progressOf, runningOf } from './open-files.ts'
import { sftpVersion } from './packet.ts'
import { SftpWatch } from './sftp-watch.ts'

export interface FileWatchOptions {
  /**
   * Reports to the main process the client's requests and the progress of transfers, to keep in
   * memory.
   */
  note(notes: FileNotes): Promise<void>
  /** Puts operations on the log. They are there when this resolves. */
  record(operations: readonly FileOperation[]): Promise<void>
  /** Ends the session: it may not go on without its record. */
  fail(reason: CodedError, outcome: string): void
  /** The memory that the main process has for the session's files. */
  readonly kept: KeptFiles
  readonly log: Log
  /** How often running transfers go to the log, in milliseconds; 10 s unless given. */
  readonly runningMs?: number
}

/** Greetings of the target's shell and warnings of its server come there. */
const asideBytesMax = 64 * 1024
/** Chunks of the client that were inspected and wait to go on. */
const lookedAtMax = 256
const notesMax = 1000
/** Operations of one write to the log. */
const recordsMax = 100
const noteMs = 500
const runningMsDefault = 10_000
/** A transfer is logged after this many bytes even before its time. */
const runningBytes = 256 * 1_048_576
/** Of INIT: a length, a type and the version. */
const versionStart = 5
const initBytes = 9

/**
 * Inspects both ways of an SFTP session. A request goes on to the target after the main process
 * knows of it. An answer goes on to the client after its operation is on the log. Bytes that cannot
 * be read, and operations that cannot be logged, end the session.
 */
export class FileWatch implements Watch {
  readonly #options: FileWatchOptions
  readonly #files: FileLog
  /** What the client asked for: in the memory of the main process. */
  readonly #asked: FileLog
  readonly #sftp: SftpWatch
  /** Data from the client that was not inspected yet. */
  readonly #incoming = new Chunks()
  #forwardUp: (chunk: Buffer) => void = () => {}
  /** The client's end of data, behind that. */
  #upEnd: (() => void) | undefined
  /** Answers that have come whole. Each waits until as many operations are on the log. */
  readonly #answers = new Fifo<{ readonly added: number; readonly chunks: Chunks }>()
  /** An answer that has not come whole, with those before it that came in the same chunk. */
  readonly #partial = new Chunks()
  #isTellingMoved = false
  #upBytes = 0
  #asideBytes = 0
  #hasFailed = false
  /** Of running transfers, when each was last on the log, and how far it was. */
  readonly #running = new WeakMap<OpenFile, { readonly ms: number; readonly bytes: number }>()
  readonly #ticker: NodeJS.Timeout
  #looksMs = performance.now()

  constructor(options: FileWatchOptions) {
    this.#options = options
    const heard = {
      failed: (err: unknown) => this.#unlogged(err),
      progressed: () => this.#look(),
    }
    this.#files = new FileLog({
      ...heard,
      write: (operations) => this.#record(operations),
      batchMax: recordsMax,
    })
    this.#asked = new FileLog({
      ...heard,
      write: (asked) => options.note({ asked, moved: [] }),
      batchMax: notesMax,
    })
    this.#sftp = new SftpWatch({
      asked: (operation) => {
        options.kept.asked(operation)
        this.#asked.add(operation)
      },
      done: (operation) => this.#files.add(operation),
    })
    this.#ticker = setInterval(() => this.#tick(), noteMs).unref()
  }

  up(chunk: Buffer, forward: (chunk: Buffer) => void): void {
    if (this.#hasFailed) return
    this.#forwardUp = forward
    this.#incoming.add(chunk)
    this.#look()
  }

  upEnd(forward: () => void): void {
    if (this.#hasFailed) return
    this.#upEnd = forward
    this.#look()
  }

  down(chunk: Buffer, forward: (chunk: Buffer) => void): void {
    if (!this.#seen(() => this.#sftp.down(chunk))) return
    this.#partial.add(chunk)
    if (this.#sftp.partialAnswerBytes === 0) this.#answered(this.#partial.drain(), forward)
    this.#look()
  }

  downEnd(forward: (chunk: Buffer) => void): number {
    const held = Buffer.concat(this.#partial.drain())
    const wholeBytes = this.#hasFailed ? 0 : held.length - this.#sftp.partialAnswerBytes
    if (wholeBytes <= 0) return held.length
    this.#answered([held.subarray(0, wholeBytes)], forward)
    return held.length - wholeBytes
  }

  /**
   * The recording has this data. A transfer needs little of it, so its size is limited: otherwise
   * file contents could pass here unwatched.
   */
  aside(chunk: Buffer): boolean {
    this.#asideBytes += chunk.length
    if (this.#asideBytes <= asideBytesMax) return !this.#hasFailed
    this.#fail(new SftpUnreadable('too much data on stderr'), 'sftp-unreadable')
    return false
  }

  /** Resolves when everything that is known is on record, or cannot be. */
  async end(): Promise<void> {
    clearInterval(this.#ticker)
    this.#incoming.drain()
    this.#upEnd = undefined
    // A note that came after the record of its operation would be logged as interrupted once more.
    this.#asked.stop()
    await this.#asked.flush()
    this.#sftp.end()
    await this.#files.flush()
  }

  /** The main process has heard of the session's end: it keeps nothing of it any longer. */
  release(): void {
    this.#options.kept.end()
  }

  async #record(operations: readonly FileOperation[]): Promise<void> {
    await this.#options.record(operations)
    for (const operation of operations) this.#options.kept.recorded(operation)
  }

  /**
   * Looks at the client's bytes while few enough of its requests wait for answers, for the log, and for
   * the main process to know of them.
   */
  #look(): void {
    while (!this.#hasFailed && !this.#sftp.isBusy && !this.#files.isBusy) {
      if (this.#asked.acts >= lookedAtMax) return
      const next = this.#incoming.shift()
      if (next === undefined) return this.#passEnd()
      if (!this.#seen(() => this.#sftp.up(next))) return
      this.#agreeOnVersion(next)
      const forward = this.#forwardUp
      this.#asked.whenRecorded(() => forward(next))
    }
  }

  #passEnd(): void {
    const forward = this.#upEnd
    this.#upEnd = undefined
    if (forward !== undefined) this.#asked.whenRecorded(forward)
  }

  #answered(whole: readonly Buffer[], forward: (chunk: Buffer) => void): void {
    const { added, isIdle } = this.#files
    if (isIdle && this.#answers.size === 0) {
      for (const chunk of whole) forward(chunk)
      return
    }
    let last = this.#answers.last
    if (last?.added !== added) {
      last = { added, chunks: new Chunks() }
      this.#answers.push(last)
      this.#files.whenRecorded(() => {
        for (const chunk of this.#answers.shift()?.chunks.drain() ?? []) forward(chunk)
      })
    }
    for (const chunk of whole) last.chunks.add(chunk)
  }

  /**
   * Offers the target version 3 if the client offers a later one: the two would otherwise agree on
   * packets that this code cannot read.
   */
  #agreeOnVersion(chunk: Buffer): void {
    for (let at = Math.max(versionStart, this.#upBytes); at < initBytes; at++) {
      const place = at - this.#upBytes
      if (place >= chunk.length) break
      chunk[place] = at === initBytes - 1 ? sftpVersion : 0
    }
    this.#upBytes += chunk.length
  }

  async #noteMoved(files: readonly OpenFile[]): Promise<void> {
    this.#isTellingMoved = true
    try {
      for (let at = 0; at < files.length; at += notesMax) {
        const moved = files.slice(at, at + notesMax).map(progressOf)
        await this.#options.note({ asked: [], moved })
      }
    } catch (err) {
      this.#unlogged(err)
    } finally {
      this.#isTellingMoved = false
    }
  }

  /**
   * Reports the progress of transfers: to the main process each time, and to the log at intervals.
   */
  #tick(): void {
    // Notes that wait for a busy main process do not pile up.
    if (this.#hasFailed || this.#isTellingMoved) return
    const { runningMs = runningMsDefault } = this.#options
    const now = performance.now()
    const moved = this.#sftp.files.moved()
    if (moved.length > 0) {
      background(this.#noteMoved(moved), this.#options.log, 'the progress of transfers')
    }
    for (const file of moved) {
      const bytes = (file.read?.bytes ?? 0) + (file.written?.bytes ?? 0)
      const last = this.#running.get(file)
      if (last === undefined) this.#running.set(file, { ms: now, bytes: 0 })
      else if (now - last.ms >= runningMs || bytes - last.bytes >= runningBytes) {
        this.#running.set(file, { ms: now, bytes })
        for (const operation of runningOf(file)) this.#files.add(operation)
      }
    }
    if (now - this.#looksMs < runningMs) return
    this.#looksMs = now
    this.#sftp.tellLooks()
  }

  #seen(look: () => void): boolean {
    if (this.#hasFailed) return false
    try {
      look()
    } catch (err) {
      if (err instanceof FilesExhausted) this.#fail(err, 'file-limit')
      else if (err instanceof SftpUnreadable) this.#fail(err, 'sftp-unreadable')
      else {
        this.#options.log.error({ err }, 'sftp could not be watched')
        this.#fail(new SftpUnreadable('an error of ours'), 'sftp-unreadable')
      }
    }
    return !this.#hasFailed
  }

  #unlogged(err: unknown): void {
    this.#options.log.error({ err }, 'file operations could not be put on record')
    this.#fail(new FilesUnlogged(err), 'audit-failed')
  }

  #fail(reason: CodedError, outcome: string): void {
    if (this.#hasFailed) return
    this.#hasFailed = true
    this.#asked.stop()
    this.#options.fail(reason, outcome)
  }
}
