import type { FileOperation, FileProgress } from '../../wire/calls.ts'
import { SftpUnreadable } from '../errors.ts'
import type { Transfer } from './transfer.ts'

/** sshfs has hundreds open. The main process keeps each of them too, with its name: see also FileBudget. */
const filesMax = 8192
const pathBytesMax = 1_048_576

/** A file or directory that the target has opened for the client. */
export interface OpenFile {
  /** Of the request that opened it. */
  readonly number: number
  readonly path: Buffer
  readonly isDirectory: boolean
  read: Transfer | undefined
  written: Transfer | undefined
  /** Bytes of names that were listed. */
  listed: number
  /** The target may give its handle to another file with the next answer. */
  isClosing: boolean
  /** The target has answered the close: its end is told. */
  isClosed: boolean
}

/** The files of one session that are open, by their handles. */
export class OpenFiles {
  readonly #files = new Map<string, OpenFile>()
  /** How far each was when moved() last gave it. */
  readonly #seen = new WeakMap<OpenFile, string>()
  #pathBytes = 0

  add(handle: string, number: number, path: Buffer, isDirectory: boolean): void {
    this.#pathBytes += path.length
    if (this.#files.size >= filesMax || this.#pathBytes > pathBytesMax) {
      throw new SftpUnreadable('too many open files')
    }
    if (this.#files.has(handle)) throw new SftpUnreadable('a handle for two files')
    const none = {
      read: undefined,
      written: undefined,
      listed: 0,
      isClosing: false,
      isClosed: false,
    }
    this.#files.set(handle, { number, path, isDirectory, ...none })
  }

  /** Also of one that is being closed. */
  find(handle: string): OpenFile | undefined {
    return this.#files.get(handle)
  }

  /**
   * The file of a handle in a request. Handles can be guessed: a client that does not wait for one,
   * or uses one that it is closing, would reach a file that the watch does not know.
   */
  require(handle: string): OpenFile {
    const file = this.#files.get(handle)
    if (file === undefined || file.isClosing) {
      throw new SftpUnreadable('a request for a handle that is not open')
    }
    return file
  }

  remove(handle: string): void {
    this.#pathBytes -= this.#files.get(handle)?.path.length ?? 0
    this.#files.delete(handle)
  }

  /** Removes all of them, each with the known facts about its end. */
  takeAll(): OpenFile[] {
    const all = [...this.#files.values()]
    this.#files.clear()
    return all
  }

  /** Those that have moved bytes since the last call. */
  moved(): OpenFile[] {
    return [...this.#files.values()].filter((file) => {
      const { read, written } = file
      if (read === undefined && written === undefined) return false
      const so = `${read?.bytes} ${written?.bytes}`
      if (this.#seen.get(file) === so) return false
      this.#seen.set(file, so)
      return true
    })
  }
}

/** How many bytes of a file have gone each way. */
export function progressOf({ number, read, written }: OpenFile): FileProgress {
  return {
    number,
    ...(read !== undefined && { read: read.bytes }),
    ...(written !== undefined && { written: written.bytes }),
  }
}

/** The events of a running transfer. */
export function runningOf(file: OpenFile): FileOperation[] {
  const { number, path } = file
  return transfersOf(file).map(([op, { bytes }]) => ({ op, number, path, bytes, state: 'running' }))
}

/** The events of a file that is closed, or that the session leaves open: then without a code. */
export function endOf(file: OpenFile, code: number | undefined): FileOperation[] {
  const { number, path, isDirectory, listed } = file
  const outcome = code === undefined ? ({ state: 'interrupted' } as const) : { code }
  const transfers = transfersOf(file)
  if (transfers.length === 0) {
    return [{ op: 'close', number, path, ...(isDirectory && { bytes: listed }), ...outcome }]
  }
  return transfers.map(([op, transfer]) => {
    const sha256 = transfer.digest()
    return { op, number, path, bytes: transfer.bytes, ...(sha256 && { sha256 }), ...outcome }
  })
}

function transfersOf({ read, written }: OpenFile): (readonly ['read' | 'write', Transfer])[] {
  return [
    ...(read === undefined ? [] : [['read', read] as const]),
    ...(written === undefined ? [] : [['write', written] as const]),
  ]
}
