import { smallBytes } from '../../chunks.ts'
import { readBytesMax } from './read-pace.ts'
import { type AtHand, ReadRoom } from './read-room.ts'
import { Waste, WasteShare } from './waste.ts'

/** Shorter data is copied: lending it would hold too much memory for its size. */
const lendBytesMin = 64 * 1024
/** Several reads share a piece, so that a stalled receiver holds mostly bytes, not gaps. */
const pieceBytes = 1024 * 1024
/**
 * For connections with little traffic, which are most: used until a read after the login fills it.
 * Bytes in it are copied before anything else is read, so one piece serves the whole process.
 */
const firstPiece = Buffer.alloc(32 * 1024)
/** Reads that fill it show that a connection has much traffic; more of them once it has rested. */
const fullReads = 1
const fullReadsAgain = 32
/** Each time that a connection rests, Node keeps a few bytes for good. After so many it reads little at a time. */
const restsMax = 1024
const sparesMax = 3
/** 128 MiB that no chunk needs, of all connections, for a few seconds. */
const processRoom = new ReadRoom(128, 5000)
/** Shorter chunks are copied: that costs less than to keep account of them. */
const handOutBytesMin = 4 * 1024
/** What chunks may keep of the process's memory beside their own bytes. */
const processWaste = new Waste(64 * 1024 * 1024)
const connectionWasteBytes = 4 * 1024 * 1024

/** A piece of memory that a socket reads into. */
interface Piece extends AtHand {
  readonly memory: Buffer
  readonly owner: ReadMemory
  /** Where the next read begins. */
  used: number
  /** Chunks of it that were handed out and not let go. */
  lent: number
  lentBytes: number
  /** What is kept beside the bytes of its chunks, once no read uses it. */
  readonly waste: WasteShare
  /** No read uses it at the moment: the last chunk gives it back. */
  parked: boolean
  /** It is not used again. */
  lost: boolean
  /** The transport may look into it until the collector has it. */
  held: boolean
}

/** The piece that a chunk lies in, whatever read it came with: a packet may be torn in two. */
const pieces = new WeakMap<ArrayBufferLike, Piece>()
/** Chunks that were handed out and not let go. */
const lent = new WeakMap<Buffer, Piece>()

/**
 * A received chunk as its takers may keep it for long. Windows count bytes, and a chunk keeps all of the
 * memory that it lies in: it is copied where that is much more.
 */
export function handOut(chunk: Buffer): Buffer {
  const piece = pieces.get(chunk.buffer)
  const keepsMuch =
    piece === undefined ? chunk.length * 2 < chunk.buffer.byteLength : piece.owner.waste.isTooMuch
  if (chunk.length < handOutBytesMin || keepsMuch) return copyOf(chunk)
  lend(chunk)
  return chunk
}

/** Small chunks are joined where they wait. Others do not keep a pool that they share with many. */
function copyOf(chunk: Buffer): Buffer {
  if (chunk.length < smallBytes) return Buffer.from(chunk)
  const copy = Buffer.allocUnsafeSlow(chunk.length)
  chunk.copy(copy)
  return copy
}

/** A received chunk is handed out: its memory is not reused until this very chunk is let go. */
export function lend(chunk: Buffer): void {
  const piece = pieces.get(chunk.buffer)
  if (piece === undefined || lent.has(chunk)) return
  lent.set(chunk, piece)
  piece.lent++
  piece.lentBytes += chunk.length
  recount(piece)
}

/**
 * Nobody looks into this chunk any more. Who forgets to say so costs the reuse of its memory; and who says
 * it of one chunk, however often, frees no other one.
 */
export function letGo(chunk: Buffer): void {
  const piece = lent.get(chunk)
  if (piece === undefined) return
  lent.delete(chunk)
  piece.lent--
  piece.lentBytes -= chunk.length
  recount(piece)
  if (piece.lent === 0) piece.owner.isFree(piece)
}

/** A piece that is still read into is there anyway. */
function recount(piece: Piece): void {
  const isKept = piece.parked && (piece.lent > 0 || piece.held)
  piece.waste.set(isKept ? pieceBytes - piece.lentBytes : 0)
}

/**
 * The memory that a socket reads into. It is reused once none of its chunks is needed: a new piece
 * for each read would keep the collector busy. Pieces that no chunk needs count for the whole process.
 */
export class ReadMemory {
  /** Whether the transport still looks into this memory. Until told otherwise it does. */
  isHeld: (memory: ArrayBufferLike) => boolean = () => true
  /** Who counts for its pieces. */
  user: () => string = () => ''
  /** The socket's next read goes there, and not to where next() said. False where that cannot be. */
  redirect: (memory: Buffer) => boolean = () => true
  readonly waste = new Waste(connectionWasteBytes, processWaste)
  readonly #room: ReadRoom
  readonly #first = this.#newPiece(firstPiece)
  #current = this.#first
  readonly #spares: Piece[] = []
  #fullReadsLeft = fullReads
  #rests = 0
  /** Between a read and the memory for the next one. */
  #isReading = false
  #nextBytes = 0
  #isOver = false

  constructor(room = processRoom) {
    this.#room = room
  }

  /** The memory for the socket's next read, of at most that many bytes. */
  next(bytes = readBytesMax): Buffer {
    const current = this.#current
    const held = this.isHeld(current.memory.buffer)
    if (current.lent === 0 && !held) current.used = 0
    const isFirst = current === this.#first
    // A client that has not logged in does not get more memory by sending more.
    if (isFirst ? this.#fullReadsLeft <= 0 && !held : pieceBytes - current.used < readBytesMax) {
      if (!isFirst) this.#park(current)
      this.#current = this.#spares.pop() ?? this.#claim() ?? this.#first
    }
    this.#isReading = false
    this.#nextBytes = bytes
    const { memory, used } = this.#current
    return memory.subarray(used, used + bytes)
  }

  /** Passes the read bytes to `take`, which lends the chunks that it hands out. */
  read(bytes: number, take: (chunk: Buffer) => void): void {
    this.#isReading = true
    const current = this.#current
    if (bytes === firstPiece.length) this.#fullReadsLeft--
    const chunk = current.memory.subarray(current.used, current.used + bytes)
    if (bytes < lendBytesMin) return take(Buffer.from(chunk))
    current.used += bytes
    current.usedMs = performance.now()
    take(chunk)
  }

  /** No chunk of this piece is needed. */
  isFree(piece: Piece): void {
    // A read that had to wait may have left a torn packet behind since.
    if (piece.parked && !piece.held && this.isHeld(piece.memory.buffer)) this.#park(piece)
    if (!piece.parked || piece.lost || this.#spares.length >= sparesMax) return
    if (this.#isOver || !this.#room.add(piece)) return
    piece.parked = false
    piece.used = 0
    this.#spares.push(piece)
  }

  /** The socket has closed. */
  end(): void {
    this.#isOver = true
    for (const piece of this.#spares.splice(0)) this.#room.delete(piece)
    if (this.#current !== this.#first) this.#park(this.#current, true)
    this.#current = this.#first
    this.redirect(firstPiece)
  }

  /** No read uses this piece any longer. */
  #park(piece: Piece, isLost = false): void {
    piece.parked = true
    piece.held = !this.#isOver && this.isHeld(piece.memory.buffer)
    piece.lost ||= isLost || piece.held
    this.#room.delete(piece)
    recount(piece)
  }

  #claim(): Piece | undefined {
    if (this.#isOver || this.#rests >= restsMax || this.waste.isTooMuch) return undefined
    if (!this.#room.makeRoomFor(this.user())) return undefined
    const piece = this.#newPiece()
    this.#room.add(piece)
    return piece
  }

  #giveUp(piece: Piece): boolean {
    const spare = this.#spares.indexOf(piece)
    if (spare >= 0) {
      this.#spares.splice(spare, 1)
      this.#room.delete(piece)
      return true
    }
    // Node is about to ask for the memory of the next read, and takes no other one before it.
    if (this.#isReading || !this.redirect(firstPiece.subarray(0, this.#nextBytes))) return false
    this.#rests++
    this.#fullReadsLeft = fullReadsAgain
    this.#current = this.#first
    this.#park(piece, true)
    return true
  }

  #newPiece(memory = Buffer.allocUnsafeSlow(pieceBytes)): Piece {
    const waste = new WasteShare(this.waste)
    const piece: Piece = {
      memory,
      owner: this,
      user: this.user(),
      usedMs: 0,
      used: 0,
      lent: 0,
      lentBytes: 0,
      waste,
      parked: false,
      lost: false,
      held: false,
      giveUp: () => this.#giveUp(piece),
    }
    // The first piece is nobody's own: its bytes are copied, and so are all short reads.
    if (memory === firstPiece) return piece
    pieces.set(memory.buffer, piece)
    waste.endWith(memory.buffer)
    return piece
  }
}
