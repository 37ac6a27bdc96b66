import { type LookupFunction, Socket } from 'node:net'
import { sourceOf } from '../../address.ts'
import type { TurnOwner } from '../../turns.ts'
import { lend, letGo, ReadMemory } from './read-memory.ts'
import { ReadPace } from './read-pace.ts'
import { ReadTurns } from './read-turns.ts'

/** How much a socket holds before it counts as full: larger writes, and fewer of them. */
export const socketBytes = 512 * 1024
const turns = new ReadTurns()

/** What one socket reads: into memory of its own, at its own pace, and when its owner's turn comes. */
class SocketReads {
  readonly memory = new ReadMemory()
  readonly #pace = new ReadPace()
  readonly #socket: () => Socket
  /** Read, and not worked on. */
  readonly #waiting: Buffer[] = []
  /** The other side has ended, and chunks that came before that still wait. */
  #hasEnded = false
  owner: TurnOwner | undefined

  constructor(socket: () => Socket) {
    this.#socket = socket
    this.memory.user = () => JSON.stringify(this.owner ?? this.#stranger())
    this.memory.redirect = (memory) => redirect(this.#socket(), memory)
  }

  get onread() {
    return {
      buffer: () => this.memory.next(this.#pace.bytes),
      /** False stops the reading. */
      callback: (bytes: number): boolean => this.#came(bytes),
    }
  }

  /** True when the end is to be told later, after what came before it. */
  holdsEnd(): boolean {
    this.#hasEnded ||= this.#waiting.length > 0
    return this.#hasEnded
  }

  #came(bytes: number): boolean {
    this.memory.read(bytes, (chunk) => {
      lend(chunk)
      this.#waiting.push(chunk)
    })
    // Somebody resumed it too early: this goes with what waits.
    if (this.#waiting.length > 1) return false
    let isLater = false
    let goesOn = false
    turns.take(this.owner ?? this.#stranger(), () => {
      goesOn = this.#work()
      if (isLater) this.#goOn(goesOn)
    })
    isLater = true
    if (this.#waiting.length > 0) return false
    if (!goesOn) this.#goOn(false)
    return goesOn
  }

  /** False when the socket has had its time in this turn. */
  #work(): boolean {
    const socket = this.#socket()
    const chunks = this.#waiting.splice(0)
    const startedMs = performance.now()
    let bytes = 0
    // The answers to one read leave in one write.
    socket.cork()
    try {
      for (const chunk of chunks) {
        bytes += chunk.length
        if (!socket.destroyed) socket.emit('data', chunk)
      }
    } finally {
      chunks.forEach(letGo)
      socket.uncork()
    }
    if (this.#hasEnded) {
      this.#hasEnded = false
      socket.push(null)
    }
    return this.#pace.spend(bytes, performance.now() - startedMs)
  }

  #goOn(atOnce: boolean): void {
    if (!atOnce) {
      setImmediate(() => {
        this.#pace.nextTurn()
        this.#goOn(true)
      })
      return
    }
    const socket = this.#socket()
    // Somebody may have paused it for a reason of their own, and resumes it.
    if (!socket.destroyed && !socket.isPaused()) socket.resume()
  }

  /** All of them are one tenant. */
  #stranger(): TurnOwner {
    return { tenant: '', user: sourceOf(this.#socket().remoteAddress ?? '') }
  }
}

/**
 * Has Node read into this memory next. It takes that from the last read, and keeps it however long nothing
 * comes. False where this Node works in another way.
 */
function redirect(socket: Socket, memory: Buffer): boolean {
  const kept = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'kBuffer',
  )
  if (kept === undefined) return false
  const handle: unknown = Reflect.get(socket, '_handle')
  // A socket that has closed has none.
  if (typeof handle === 'object' && handle !== null) {
    const use: unknown = Reflect.get(handle, 'useUserBuffer')
    if (typeof use !== 'function') return false
    Reflect.apply(use, handle, [memory])
  }
  return Reflect.set(socket, kept, memory)
}

const readsOf = new WeakMap<object, SocketReads>()

/** The memory of a socket that openSocket() or adoptSocket() made. */
export function readMemoryOf(socket: object): ReadMemory | undefined {
  return readsOf.get(socket)?.memory
}

/** Whose reads those of this socket are from now on. Until then they are its other end's. */
export function readFor(socket: object, owner: TurnOwner): void {
  const reads = readsOf.get(socket)
  if (reads !== undefined) reads.owner = owner
}

/** Tells its end after all that came before it, whoever resumed the reading meanwhile. */
class ReadingSocket extends Socket {
  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    if (chunk === null && readsOf.get(this)?.holdsEnd() === true) return false
    return super.push(chunk, encoding)
  }
}

function readingSocket(options: object): Socket {
  const reads = new SocketReads(() => socket)
  const { onread } = reads
  const all = { ...options, highWaterMark: socketBytes, onread }
  const socket: Socket = Reflect.construct(ReadingSocket, [all])
  readsOf.set(socket, reads)
  socket.once('close', () => reads.memory.end())
  return socket
}

/**
 * A socket that is being connected, made for much data and for keystrokes: no delay for small packets,
 * long reads and writes for large ones. `lookup` finds the addresses of a name; by default the system does.
 * Listen for `connect` and `error` as with any other.
 */
export function openSocket(host: string, port: number, lookup?: LookupFunction): Socket {
  const socket = readingSocket({ noDelay: true, keepAlive: true })
  return socket.connect({ host, port, ...(lookup && { lookup }) })
}

/**
 * A connection that another process has accepted, with memory of our own to read into. Call it
 * before its first byte is read, in the tick in which it came; the given socket can no longer be
 * used.
 */
export function adoptSocket(given: Socket): Socket {
  const handle: unknown = Reflect.get(given, '_handle')
  // It has gone on the way here.
  if (typeof handle !== 'object' || handle === null) return given
  Reflect.set(given, '_handle', null)
  return readingSocket({ handle, readable: true, writable: true })
}
