import { Reader, WireError } from '../../../ssh/index.ts'
import type { FileOperation } from '../../wire/calls.ts'
import { SftpUnreadable } from '../errors.ts'
import { type Answer, type AnswerShape, readAnswer, requireAllowed } from './answers.ts'
import { endOf, type OpenFile, OpenFiles } from './open-files.ts'
import { answerType, readHandle, requestType, sftpVersion, skipExtensions } from './packet.ts'
import { type Act, type Request, readRequest } from './requests.ts'
import { SftpFrames, type SftpSink } from './sftp-frames.ts'
import { Transfer } from './transfer.ts'

/** The receiver of a watch's reports. Paths are the raw bytes. */
export interface SftpEvents {
  /** The client asks for it. The target has not seen the request yet. */
  asked(operation: FileOperation): void
  /** The target has answered, or the session ended before it did. */
  done(operation: FileOperation): void
}

/** Above either limit, the client's bytes should not be read. */
const busyPending = 1024
const busyPathBytes = 256 * 1024
/** One read brings at most this. */
const pendingMax = 32_768
const pathBytesMax = 16 * 1_048_576

/** One way of the stream. */
interface Way extends SftpSink {
  /** No further data comes. */
  end(): void
}

/** A request that waits for its answer. */
type Pending = { readonly answer: AnswerShape } & (
  | { readonly ask: 'open' | 'act'; readonly operation: FileOperation }
  | { readonly ask: 'close'; readonly handle: string; readonly file: OpenFile }
  | {
      readonly ask: 'read'
      readonly file: OpenFile | undefined
      readonly offset: bigint
      readonly max: number
    }
  | { readonly ask: 'list'; readonly file: OpenFile }
  | { readonly ask: 'write'; readonly transfer: Transfer }
  | { readonly ask: 'look' }
)

/** Where the data of a packet go, and how many there may be. */
interface Destination {
  /** Stands before their length. */
  readonly reader: Reader
  readonly transfer: Transfer
  readonly max: number
}

/**
 * Watches both ways of an SFTP session, and reports each operation on a file: when the client asks,
 * and when the target answers. It changes no byte. Throws SftpUnreadable for bytes that are not
 * SFTP version 3, and for answers that their requests do not allow: VaultTerm passes only data that
 * it can put on the log.
 */
export class SftpWatch {
  readonly files = new OpenFiles()
  readonly #events: SftpEvents
  readonly #up = new SftpFrames(requestType.write)
  readonly #down = new SftpFrames(answerType.data)
  readonly #requests = this.#wayOf((packet) => this.#asked(packet))
  readonly #answers = this.#wayOf((packet) => this.#answered(packet))
  readonly #pending = new Map<number, Pending>()
  #isInitialised = false
  #isAgreed = false
  #numbers = 0
  /** Of the operations that wait for their answers. */
  #pathBytes = 0
  readonly #looks = new LookUps()

  constructor(events: SftpEvents) {
    this.#events = events
  }

  /** Enough requests wait for their answers. */
  get isBusy(): boolean {
    return this.#pending.size >= busyPending || this.#pathBytes >= busyPathBytes
  }

  /**
   * How many of the last bytes that came are the beginning of an answer that has not come whole. Data
   * of a file do not count.
   */
  get partialAnswerBytes(): number {
    return this.#down.holding
  }

  /** The client sends this. */
  up(chunk: Buffer): void {
    this.#up.push(chunk, this.#requests)
  }

  /** The target answers this. */
  down(chunk: Buffer): void {
    this.#down.push(chunk, this.#answers)
  }

  /** No further data comes: reports requests without an answer, and open files. */
  end(): void {
    this.#requests.end()
    this.#answers.end()
    // The target may have carried out a request that it did not answer.
    for (const pending of this.#pending.values()) {
      if ('operation' in pending) {
        this.#events.done({ ...pending.operation, state: 'interrupted' })
      }
    }
    this.#pending.clear()
    for (const file of this.files.takeAll()) this.#tell(endOf(file, undefined))
    this.tellLooks()
  }

  /** Reports the number of look-ups since the last report. */
  tellLooks(): void {
    const looks = this.#looks.take()
    if (looks !== undefined) this.#events.done({ ...looks, number: this.#numbers++ })
  }

  /** Reads the packets of one way, and passes the data in them on to where they belong. */
  #wayOf(read: (packet: Buffer) => Destination | undefined): Way {
    let transfer: Transfer | undefined
    let left = 0
    const begin = (packet: Buffer, rest: number) => {
      const destination = readable(() => read(packet))
      transfer = destination?.transfer
      if (destination === undefined) {
        left = 0
        return
      }
      const { reader, max } = destination
      readable(() => {
        left = reader.u32()
        if (left !== reader.left + rest)
          throw new SftpUnreadable('data that does not fill its packet')
        if (left > max) throw new SftpUnreadable('more data than was asked for')
        more(reader.bytes(reader.left))
      })
    }
    const more = (bytes: Buffer) => {
      left -= bytes.length
      if (bytes.length > 0) transfer?.take(bytes)
    }
    // Data that were cut off in their middle are not the file that their bytes would make.
    const end = () => {
      if (left > 0) transfer?.spoil()
    }
    return { packet: (packet) => begin(packet, 0), begin, more, end }
  }

  /** Answers where its data belong, when it has some. */
  #asked(packet: Buffer): Destination | undefined {
    const reader = new Reader(packet)
    const type = reader.u8()
    if (type === requestType.init) return this.#initialise(reader)
    if (!this.#isInitialised) throw new SftpUnreadable('a request before the start')
    const id = reader.u32()
    if (this.#pending.has(id)) throw new SftpUnreadable('two requests with one id')
    if (this.#pending.size >= pendingMax || this.#pathBytes > pathBytesMax)
      throw new SftpUnreadable('too many requests at a time')
    if (type === requestType.write) return this.#written(id, reader)
    const pending = this.#pendingOf(readRequest(type, reader))
    this.#pending.set(id, pending)
    this.#pathBytes += pathBytesOf(pending)
    if (pending.ask === 'look') this.#looks.bytes += packet.length
    if ('operation' in pending) this.#events.asked(pending.operation)
    return undefined
  }

  #initialise(reader: Reader): undefined {
    if (this.#isInitialised) throw new SftpUnreadable('a second start')
    this.#isInitialised = true
    const version = reader.u32()
    if (version < sftpVersion) throw new SftpUnreadable(`a client of version ${version}`)
    skipExtensions(reader)
  }

  #written(id: number, reader: Reader): Destination {
    const file = this.files.require(readHandle(reader))
    if (file.isDirectory) throw new SftpUnreadable('data for a directory')
    file.written ??= new Transfer()
    file.written.at(reader.u64())
    file.written.written()
    this.#pending.set(id, { ask: 'write', answer: 'status', transfer: file.written })
    return { transfer: file.written, max: Infinity, reader }
  }

  #pendingOf(request: Request): Pending {
    const { answer } = request
    switch (request.ask) {
      case 'open':
      case 'act':
        return { ask: request.ask, answer, operation: this.#number(request.act) }
      case 'actOn': {
        const { path } = this.files.require(request.handle)
        return { ask: 'act', answer, operation: this.#number({ ...request.act, path }) }
      }
      case 'close': {
        const { handle } = request
        // A close that was guessed would leave us with a file that the target has closed.
        const file = this.files.require(handle)
        file.isClosing = true
        return { ask: 'close', answer, handle, file }
      }
      case 'read': {
        const { offset, max } = request
        const file = this.files.find(request.handle)
        // Read-ahead may come after a close: it gets no data, or the session ends.
        return { ask: 'read', answer, file: file?.isClosing ? undefined : file, offset, max }
      }
      case 'list': {
        const file = this.files.find(request.handle)
        if (file === undefined) throw new SftpUnreadable('a list of a directory that is not open')
        return { ask: 'list', answer, file }
      }
      case 'copy': {
        const { path } = this.files.require(request.from)
        const to = this.files.require(request.to)
        // The bytes that the target copies do not pass here.
        to.written ??= new Transfer()
        to.written.spoil()
        const copy = { op: 'copy', extension: 'copy-data', path, to: to.path } as const
        return { ask: 'act', answer, operation: this.#number(copy) }
      }
      case 'look':
        this.#looks.count++
        return { ask: 'look', answer }
    }
  }

  #number(act: Act): FileOperation {
    return { ...act, number: this.#numbers++ }
  }

  /** Answers where its data belong, when it has some. */
  #answered(packet: Buffer): Destination | undefined {
    const reader = new Reader(packet)
    const type = reader.u8()
    if (type === answerType.version) return this.#agree(reader)
    if (!this.#isAgreed) throw new SftpUnreadable('an answer before the start')
    const id = reader.u32()
    const pending = this.#pending.get(id)
    if (pending === undefined) throw new SftpUnreadable('an answer without a request')
    requireAllowed(type, pending.answer)
    const hasContent = type === answerType.data || type === answerType.name
    // Its end is on the log: these bytes would reach the client untold.
    if (hasContent && 'file' in pending && pending.file?.isClosed) {
      throw new SftpUnreadable('content of a file or directory that is closed')
    }
    if (type === answerType.data) {
      const destination = this.#came(pending, reader)
      this.#pending.delete(id)
      return destination
    }
    this.#settle(pending, readAnswer(type, pending.answer, reader), packet.length)
    // Not before: if the answer cannot be read, its request is reported at the end.
    this.#pending.delete(id)
    this.#pathBytes -= pathBytesOf(pending)
    return undefined
  }

  #agree(reader: Reader): undefined {
    if (!this.#isInitialised || this.#isAgreed)
      throw new SftpUnreadable('a VERSION that was not asked for')
    this.#isAgreed = true
    const version = reader.u32()
    if (version !== sftpVersion) throw new SftpUnreadable(`a server of version ${version}`)
    skipExtensions(reader)
  }

  #came(pending: Pending, reader: Reader): Destination {
    if (pending.ask !== 'read' || pending.file === undefined) {
      throw new SftpUnreadable('data of a handle that is not open')
    }
    const { file, offset, max } = pending
    if (file.isDirectory) throw new SftpUnreadable('data of a directory')
    file.read ??= new Transfer()
    file.read.at(offset)
    return { transfer: file.read, max, reader }
  }

  #settle(pending: Pending, answer: Answer, bytes: number): void {
    const { code, path, reply } = answer
    switch (pending.ask) {
      case 'open':
        return this.#opened(pending.operation, answer)
      case 'act':
        return this.#events.done({
          ...pending.operation,
          ...(path && { to: path }),
          ...(reply && { replyBytes: reply.bytes, replySha256: reply.sha256 }),
          code,
        })
      case 'write':
        if (code === 0) pending.transfer.confirmed()
        else pending.transfer.spoil()
        return
      case 'list':
        pending.file.listed += bytes
        return
      case 'look':
        this.#looks.bytes += bytes
        return
      case 'close':
        this.files.remove(pending.handle)
        pending.file.isClosed = true
        this.#tell(endOf(pending.file, code))
    }
  }

  #opened(operation: FileOperation, { code, handle }: Answer): void {
    const { op, number, path } = operation
    if (handle === undefined || path === undefined) {
      if (code === 0) throw new SftpUnreadable('an open that succeeds without a handle')
      return this.#events.done({ ...operation, code })
    }
    this.files.add(handle, number, path, op === 'list')
    this.#events.done({ ...operation, code, state: 'open' })
  }

  #tell(operations: readonly FileOperation[]): void {
    for (const operation of operations) this.#events.done(operation)
  }
}

/** Requests about a name that get only attributes. They are counted, not reported one by one. */
class LookUps {
  count = 0
  /** Of the requests and of their answers. */
  bytes = 0

  take(): Omit<FileOperation, 'number'> | undefined {
    const { count, bytes } = this
    this.count = 0
    this.bytes = 0
    return bytes === 0 ? undefined : { op: 'lookup', count, bytes }
  }
}

function pathBytesOf(pending: Pending): number {
  if (!('operation' in pending)) return 0
  const { path, to } = pending.operation
  return (path?.length ?? 0) + (to?.length ?? 0)
}

function readable<T>(read: () => T): T {
  try {
    return read()
  } catch (err) {
    if (err instanceof WireError) throw new SftpUnreadable(err.message)
    throw err
  }
}
