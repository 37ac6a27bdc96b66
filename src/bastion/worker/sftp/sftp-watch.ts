import { createHash, type Hash } from 'node:crypto'
import { Reader, WireError } from '../../../ssh/index.ts'
import type { FileOperation } from '../../wire/calls.ts'
import { SftpUnreadable } from '../errors.ts'
import { SftpFrames, type SftpSink } from './sftp-frames.ts'

/** Numbers of packets: draft-ietf-secsh-filexfer-02 section 3. */
const requests = {
  init: 1,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  rename: 18,
  symlink: 20,
  extended: 200,
} as const
const requestMax = 20
const answers = {
  version: 2,
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attrs: 105,
  extended: 201,
} as const

/** How many requests may wait for an answer, and how many files may be open: sshfs has hundreds. */
const pendingMax = 8192
const handlesMax = 8192
const handleBytesMax = 256
const pathLengthMax = 1024

/** What went one way of an open file, with a hash as long as it goes from start to end. */
class Transfer {
  bytes = 0
  readonly #hash: Hash = createHash('sha256')
  #next = 0n
  #isSequential = true
  /** Writes that nobody has confirmed. */
  #unconfirmed = 0

  written(): void {
    this.#unconfirmed++
  }

  confirmed(): void {
    this.#unconfirmed--
  }

  /** Data comes that belongs here. */
  at(offset: bigint): void {
    if (offset !== this.#next) this.#isSequential = false
  }

  take(data: Buffer): void {
    this.bytes += data.length
    if (!this.#isSequential) return
    this.#hash.update(data)
    this.#next += BigInt(data.length)
  }

  spoil(): void {
    this.#isSequential = false
  }

  /** Of a transfer that went from the first byte on without a gap, and whose every write was confirmed. */
  digest(): string | undefined {
    const isWhole = this.#isSequential && this.#unconfirmed === 0 && this.bytes > 0
    return isWhole ? this.#hash.digest('hex') : undefined
  }
}

interface OpenFile {
  readonly path: string
  readonly isDirectory: boolean
  read: Transfer | undefined
  written: Transfer | undefined
  /** Its handle may be another file's with the next answer. */
  isClosing: boolean
}

/** One way of the stream. */
interface Way extends SftpSink {
  /** Nothing more comes of it. */
  end(): void
}

type Pending =
  | { readonly what: 'open'; readonly path: string; readonly isDirectory: boolean }
  | { readonly what: 'close'; readonly handle: string; readonly file: OpenFile }
  | { readonly what: 'read'; readonly file: OpenFile | undefined; readonly offset: bigint }
  | { readonly what: 'write'; readonly transfer: Transfer }
  | { readonly what: 'act'; readonly act: Omit<FileOperation, 'code'> }
  | { readonly what: 'other' }

/**
 * Watches what goes both ways through an SFTP subsystem, and tells each operation on a file once its
 * outcome is known. Nothing is changed or held back. Throws SftpUnreadable for what is no SFTP that
 * it knows: what cannot be watched is not let through.
 */
export class SftpWatch {
  readonly #tell: (operation: FileOperation) => void
  readonly #up = new SftpFrames(requests.write)
  readonly #down = new SftpFrames(answers.data)
  readonly #asks = this.#sinkOf((packet) => this.#asked(packet))
  readonly #answers = this.#sinkOf((packet) => this.#answered(packet))
  readonly #pending = new Map<number, Pending>()
  readonly #files = new Map<string, OpenFile>()
  #isInitialised = false

  constructor(tell: (operation: FileOperation) => void) {
    this.#tell = tell
  }

  /** What the client sends. */
  up(chunk: Buffer): void {
    this.#up.push(chunk, this.#asks)
  }

  /** What the target answers. */
  down(chunk: Buffer): void {
    this.#down.push(chunk, this.#answers)
  }

  /** Nothing more comes: what was left open is told as it is. */
  end(): void {
    this.#asks.end()
    this.#answers.end()
    // The target may have done what it has not answered.
    for (const pending of this.#pending.values()) this.#tellUnanswered(pending)
    for (const file of this.#files.values()) this.#tellFile(file, undefined)
    this.#files.clear()
    this.#pending.clear()
  }

  /** Reads the packets of one way, and gives the transfer that each is a part of what is in it. */
  #sinkOf(read: (reader: Reader) => Transfer | undefined): Way {
    let transfer: Transfer | undefined
    let left = 0
    const begin = (payload: Buffer, rest: number) => {
      try {
        const reader = new Reader(payload)
        transfer = read(reader)
        if (transfer === undefined) {
          left = 0
          return
        }
        left = reader.u32()
        if (left > reader.left + rest) throw new SftpUnreadable('more data than its packet holds')
        more(reader.bytes(Math.min(left, reader.left)))
      } catch (err) {
        if (err instanceof WireError) throw new SftpUnreadable(err.message)
        throw err
      }
    }
    const more = (bytes: Buffer) => {
      const data = bytes.subarray(0, left)
      left -= data.length
      if (data.length > 0) transfer?.take(data)
    }
    // What was cut off in the middle of its data is not the file that its bytes would make.
    const end = () => {
      if (left > 0) transfer?.spoil()
    }
    return { packet: (payload) => begin(payload, 0), begin, more, end }
  }

  /** Answers where its data belongs, when it has some. */
  #asked(reader: Reader): Transfer | undefined {
    const type = reader.u8()
    if (type === requests.init) {
      if (this.#isInitialised) throw new SftpUnreadable('a second start')
      this.#isInitialised = true
      return undefined
    }
    if (type !== requests.extended && (type < requests.open || type > requestMax)) {
      throw new SftpUnreadable(`a request ${type}`)
    }
    const id = reader.u32()
    if (this.#pending.has(id)) throw new SftpUnreadable('two requests with one id')
    if (this.#pending.size >= pendingMax) throw new SftpUnreadable('too many requests at a time')
    if (type !== requests.write) {
      this.#pending.set(id, this.#readRequest(type, reader))
      return undefined
    }
    const file = this.#open(readHandle(reader))
    file.written ??= new Transfer()
    file.written.at(reader.u64())
    file.written.written()
    this.#pending.set(id, { what: 'write', transfer: file.written })
    return file.written
  }

  /**
   * The file of a handle that something is done by. Handles can be guessed, and whoever does not wait
   * for them, or goes on with one that is being closed, would do it to a file that nobody knows of.
   */
  #open(handle: string): OpenFile {
    const file = this.#files.get(handle)
    if (file === undefined || file.isClosing) {
      throw new SftpUnreadable('something done by a handle that is not open')
    }
    return file
  }

  #readRequest(type: number, reader: Reader): Pending {
    const act = (op: FileOperation['op'], more: Partial<FileOperation> = {}): Pending => ({
      what: 'act',
      act: { op, path: readPath(reader), ...more },
    })
    switch (type) {
      case requests.open:
        return { what: 'open', path: readPath(reader), isDirectory: false }
      case requests.opendir:
        return { what: 'open', path: readPath(reader), isDirectory: true }
      case requests.close: {
        const handle = readHandle(reader)
        // A close that was guessed would leave us with a file that the target has closed.
        const file = this.#open(handle)
        file.isClosing = true
        return { what: 'close', handle, file }
      }
      case requests.read: {
        const file = this.#files.get(readHandle(reader))
        // Read-ahead may come behind a close: it gets no data, or the session ends.
        return { what: 'read', file: file?.isClosing ? undefined : file, offset: reader.u64() }
      }
      case requests.remove:
        return act('remove')
      case requests.mkdir:
        return act('mkdir')
      case requests.rmdir:
        return act('rmdir')
      case requests.setstat:
        return act('setstat')
      case requests.fsetstat:
        return this.#ofHandle('setstat', reader)
      case requests.rename:
        return withSecond('rename', reader)
      case requests.symlink:
        return withSecond('symlink', reader)
      case requests.extended:
        return this.#readExtended(reader)
      default:
        return { what: 'other' }
    }
  }

  #readExtended(reader: Reader): Pending {
    switch (reader.text()) {
      case 'posix-rename@openssh.com':
        return withSecond('rename', reader)
      case 'hardlink@openssh.com':
        return withSecond('hardlink', reader)
      case 'lsetstat@openssh.com':
        return { what: 'act', act: { op: 'setstat', path: readPath(reader) } }
      case 'copy-data': {
        const from = this.#open(readHandle(reader))
        reader.u64()
        reader.u64()
        const to = this.#open(readHandle(reader))
        // What was written by it did not pass here.
        to.written ??= new Transfer()
        to.written.spoil()
        return { what: 'act', act: { op: 'copy', path: from.path, to: to.path } }
      }
      default:
        return { what: 'other' }
    }
  }

  #ofHandle(op: FileOperation['op'], reader: Reader): Pending {
    return { what: 'act', act: { op, path: this.#open(readHandle(reader)).path } }
  }

  /** Answers where its data belongs, when it has some. */
  #answered(reader: Reader): Transfer | undefined {
    const type = reader.u8()
    if (type === answers.version) return undefined
    const id = reader.u32()
    const pending = this.#pending.get(id)
    if (pending === undefined) throw new SftpUnreadable('an answer to nothing')
    this.#pending.delete(id)
    switch (type) {
      case answers.status:
        this.#ended(pending, reader.u32())
        return undefined
      case answers.handle:
        this.#opened(pending, readHandle(reader))
        return undefined
      case answers.data:
        return this.#came(pending)
      case answers.name:
      case answers.attrs:
      case answers.extended:
        return undefined
      default:
        throw new SftpUnreadable(`an answer ${type}`)
    }
  }

  #opened(pending: Pending, handle: string): void {
    if (pending.what !== 'open') throw new SftpUnreadable('a handle that nobody asked for')
    if (this.#files.size >= handlesMax) throw new SftpUnreadable('too many open files')
    if (this.#files.has(handle)) throw new SftpUnreadable('a handle for two files')
    const { path, isDirectory } = pending
    const none = { read: undefined, written: undefined, isClosing: false }
    this.#files.set(handle, { path, isDirectory, ...none })
  }

  #came(pending: Pending): Transfer | undefined {
    if (pending.what !== 'read') throw new SftpUnreadable('data that nobody asked for')
    const { file } = pending
    if (file === undefined) throw new SftpUnreadable('data of a handle that is not open')
    file.read ??= new Transfer()
    file.read.at(pending.offset)
    return file.read
  }

  #ended(pending: Pending, code: number): void {
    switch (pending.what) {
      case 'open':
        return this.#tell({ op: pending.isDirectory ? 'list' : 'open', path: pending.path, code })
      case 'act':
        return this.#tell({ ...pending.act, code })
      case 'write':
        if (code === 0) pending.transfer.confirmed()
        else pending.transfer.spoil()
        return
      case 'close': {
        const { handle, file } = pending
        this.#files.delete(handle)
        this.#tellFile(file, code)
      }
    }
  }

  #tellUnanswered(pending: Pending): void {
    if (pending.what === 'act') this.#tell(pending.act)
    else if (pending.what === 'open') {
      this.#tell({ op: pending.isDirectory ? 'list' : 'open', path: pending.path })
    }
  }

  #tellFile({ path, isDirectory, read, written }: OpenFile, code: number | undefined): void {
    const outcome = code === undefined ? {} : { code }
    if (isDirectory) return this.#tell({ op: 'list', path, ...outcome })
    if (read === undefined && written === undefined) {
      return this.#tell({ op: 'open', path, ...outcome })
    }
    for (const [op, transfer] of [
      ['read', read],
      ['write', written],
    ] as const) {
      if (transfer === undefined) continue
      const sha256 = transfer.digest()
      const digest = sha256 === undefined ? {} : { sha256 }
      this.#tell({ op, path, bytes: transfer.bytes, ...digest, ...outcome })
    }
  }
}

function withSecond(op: FileOperation['op'], reader: Reader): Pending {
  return { what: 'act', act: { op, path: readPath(reader), to: readPath(reader) } }
}

function readPath(reader: Reader): string {
  return reader.string().toString('utf8').slice(0, pathLengthMax)
}

function readHandle(reader: Reader): string {
  const handle = reader.string()
  if (handle.length > handleBytesMax) throw new SftpUnreadable('a handle that is too long')
  return handle.toString('latin1')
}
