import type { Duplex } from 'node:stream'
import { keep } from '../../bytes.ts'
import type { WorkShare } from '../../work-share.ts'

/** The file descriptors of a worker's ends of the pipe. */
export const pipeDescriptors = { toMain: 4, fromMain: 5 } as const
/** The largest message of a worker: a command, or the figures of a registry, with its bytes as text. */
export const workerFrameBytesMax = 2_097_152
/** The largest message of the main process: the names of all targets of a large tenant. */
export const mainFrameBytesMax = 16 * 1_048_576
const headBytes = 4
/** A worker's largest list has a thousand files, with some 30 fields each. */
const itemsMax = 65_536

/**
 * One way each: where a process has ended, a message to it fails, and Node then closes the stream with
 * all that the process had said before.
 */
export interface PipeEnds {
  readonly from: Duplex
  readonly to: Duplex
}

export interface PipeHandlers {
  /** One message, and its size. */
  received(message: unknown, bytes: number): void
  /** The data was not a message. Reading stops. */
  failed(why: string): void
  /** The other side has hung up. */
  ended(): void
}

/**
 * Messages between two processes, where one does not trust the other: four bytes of length, then
 * that many bytes of JSON, in which bytes are `{"base64": …}`.
 *
 * Node's own channel to a child is not suitable: bytes that are not a message end the process that
 * reads them, a large announced length is waited for, and its format was not made for hostile
 * input.
 */
export class MessagePipe {
  readonly #from: Duplex
  readonly #to: Duplex
  readonly #handlers: PipeHandlers
  readonly #frameBytesMax: number
  readonly #drained = new Set<() => void>()
  #held: Buffer[] = []
  #heldBytes = 0
  readonly #share: WorkShare | undefined
  /** Nothing is read until then. */
  #rest: NodeJS.Timeout | undefined
  #isLast = false
  #isDeaf = false

  /**
   * Received messages must not be larger than frameBytesMax. From a side that is not trusted, no more is
   * read than its share of work allows; the rest waits on that side.
   */
  constructor(
    { from, to }: PipeEnds,
    handlers: PipeHandlers,
    frameBytesMax = workerFrameBytesMax,
    share?: WorkShare,
  ) {
    this.#from = from
    this.#to = to
    this.#handlers = handlers
    this.#frameBytesMax = frameBytesMax
    this.#share = share
    from.on('data', (chunk: Buffer) => this.#read(chunk))
    from.once('close', () => {
      this.readOut()
      handlers.ended()
    })
    to.on('drain', () => this.#resume())
    to.once('close', () => this.#resume())
    // The next event of each is its close.
    from.on('error', () => from.destroy())
    to.on('error', () => to.destroy())
  }

  /** Bytes that the other side has not read yet. */
  get unread(): number {
    return this.#to.writableLength
  }

  /** Sends a message. Where the other side has ended, the message is lost, and sent is not called. */
  send(message: object, sent?: () => void): void {
    this.sendFrame(encodeFrame(message), sent)
  }

  /** The same for a message that encodeFrame has made. */
  sendFrame(frame: Buffer, sent?: () => void): void {
    if (!this.#to.writable) return
    this.#to.write(frame, (err) => {
      if (err === null || err === undefined) sent?.()
    })
  }

  /** Resolves when at most that many bytes are unread, or the other side has ended. */
  async drained(bytes: number): Promise<void> {
    while (this.#to.writable && this.unread > bytes) {
      await new Promise<void>((resolve) => this.#drained.add(resolve))
    }
  }

  /** The other process has ended: what it has sent is read without a rest. */
  readOut(): void {
    this.#isLast = true
    if (this.#rest !== undefined) this.#readOn()
  }

  close(): void {
    this.#isDeaf = true
    clearTimeout(this.#rest)
    this.#from.destroy()
    this.#to.destroy()
  }

  #resume(): void {
    const waiting = [...this.#drained]
    this.#drained.clear()
    for (const resume of waiting) resume()
  }

  #read(chunk: Buffer): void {
    if (this.#isDeaf) return
    this.#held.push(chunk)
    this.#heldBytes += chunk.length
    this.#readHeld()
  }

  #readHeld(): void {
    while (!this.#isDeaf && this.#rest === undefined && this.#heldBytes >= headBytes) {
      const length = this.#front(headBytes).readUInt32BE(0)
      if (length > this.#frameBytesMax) return this.#fail('a message that is too long')
      if (this.#heldBytes < headBytes + length) return
      const frame = this.#take(headBytes + length).subarray(headBytes)
      const receive = () => this.#receive(frame)
      if (this.#share === undefined) receive()
      else this.#pause(this.#share.spend(receive))
    }
  }

  #receive(frame: Buffer): void {
    if (this.#share !== undefined && hasTooManyItems(frame)) {
      return this.#fail('a message with too many parts')
    }
    let message: unknown
    try {
      message = decodeMessage(frame)
    } catch {
      return this.#fail('bytes that are not a message')
    }
    this.#handlers.received(message, frame.length)
  }

  #pause(ms: number): void {
    if (ms === 0 || this.#isDeaf || this.#isLast) return
    this.#from.pause()
    this.#rest = setTimeout(() => this.#readOn(), ms)
  }

  #readOn(): void {
    clearTimeout(this.#rest)
    this.#rest = undefined
    this.#readHeld()
    if (this.#rest === undefined) this.#from.resume()
  }

  #fail(why: string): void {
    this.#isDeaf = true
    this.#held = []
    this.#handlers.failed(why)
  }

  /** At least that many bytes in one piece. */
  #front(bytes: number): Buffer {
    const [first] = this.#held
    if (first !== undefined && first.length >= bytes) return first
    const all = Buffer.concat(this.#held)
    this.#held = [all]
    return all
  }

  #take(bytes: number): Buffer {
    const front = this.#front(bytes)
    const rest = front.subarray(bytes)
    this.#held[0] = rest
    if (rest.length === 0) this.#held.shift()
    this.#heldBytes -= bytes
    return front.subarray(0, bytes)
  }
}

export function encodeFrame(message: object): Buffer {
  const text = JSON.stringify(message, function (this: unknown, key: string, value: unknown) {
    // Buffers have turned themselves into something longer by the time that they are a value here.
    const own: unknown = Reflect.get(Object(this), key)
    return own instanceof Uint8Array ? { base64: Buffer.from(own).toString('base64') } : value
  })
  const length = Buffer.byteLength(text)
  const frame = Buffer.allocUnsafe(headBytes + length)
  frame.writeUInt32BE(length, 0)
  frame.write(text, headBytes)
  return frame
}

/** They cost more than their bytes: each part that is wrong is described. */
function hasTooManyItems(frame: Buffer): boolean {
  if (frame.length <= itemsMax) return false
  let items = 0
  for (const byte of frame) if (byte === 0x2c) items++
  return items > itemsMax
}

function decodeMessage(frame: Buffer): unknown {
  return JSON.parse(frame.toString(), (_key, value: unknown) => {
    if (typeof value !== 'object' || value === null || !('base64' in value)) return value
    const { base64 } = value
    if (typeof base64 !== 'string' || Object.keys(value).length !== 1) return value
    return keep(Buffer.from(base64, 'base64'))
  })
}
