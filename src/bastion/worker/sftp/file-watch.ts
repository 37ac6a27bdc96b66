import type { CodedError } from '../../../errors.ts'
import type { Log } from '../../../log.ts'
import type { FileOperation } from '../../wire/calls.ts'
import { FilesUnlogged, SftpUnreadable } from '../errors.ts'
import type { Watch } from '../relay.ts'
import { FileLog } from './file-log.ts'
import { SftpWatch } from './sftp-watch.ts'

export interface FileWatchOptions {
  record(operations: readonly FileOperation[]): Promise<void>
  /** Ends the session: what is not on record may not go on. */
  fail(reason: CodedError, outcome: string): void
  readonly log: Log
}

/** A login's greetings, a server's warnings. */
const asideBytesMax = 64 * 1024

/** What is done to files in a session is on the log, or there is no session. */
export class FileWatch implements Watch {
  readonly #options: FileWatchOptions
  readonly #files: FileLog
  readonly #sftp: SftpWatch
  #hasFailed = false
  #asideBytes = 0

  constructor(options: FileWatchOptions) {
    this.#options = options
    this.#files = new FileLog(options.record, (err) => {
      options.log.error({ err }, 'file operations could not be put on record')
      this.#fail(new FilesUnlogged(err), 'audit-failed')
    })
    this.#sftp = new SftpWatch((operation) => this.#files.add(operation))
  }

  up(chunk: Buffer): boolean {
    return this.#seen(() => this.#sftp.up(chunk))
  }

  down(chunk: Buffer): boolean {
    return this.#seen(() => this.#sftp.down(chunk))
  }

  /** All of it is on record, and nobody needs much of it: it is no way to see what no file holds. */
  aside(chunk: Buffer): boolean {
    this.#asideBytes += chunk.length
    if (this.#asideBytes <= asideBytesMax) return !this.#hasFailed
    this.#fail(new SftpUnreadable('more beside its packets than a transfer has'), 'sftp-unreadable')
    return false
  }

  /** Resolves when all is on record that is known. */
  async end(): Promise<void> {
    this.#files.ending()
    this.#sftp.end()
    await this.#files.flush()
  }

  #seen(look: () => void): boolean {
    if (this.#hasFailed) return false
    try {
      look()
    } catch (err) {
      const isOurs = !(err instanceof SftpUnreadable)
      if (isOurs) this.#options.log.error({ err }, 'sftp could not be watched')
      this.#fail(isOurs ? new SftpUnreadable('an error of ours') : err, 'sftp-unreadable')
    }
    return !this.#hasFailed
  }

  #fail(reason: CodedError, outcome: string): void {
    if (this.#hasFailed) return
    this.#hasFailed = true
    this.#options.fail(reason, outcome)
  }
}
