import { smallBytes } from '../../chunks.ts'
import { readBytesMax } from './read-pace.ts'
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
const sparesMax = 3
/** Shorter chunks are copied: that costs less than to keep account of them. */
const handOutBytesMin = 4 * 1024
/** What chunks may keep of the process's memory beside their own bytes. */
const processWaste = new Waste(64 * 1024 * 1024)
const connectionWasteBytes = 4 * 1024 * 1024

/** A piece of memory that a socket reads into. */
interface Piece {
  readonly memory: Buffer
  readonly owner: ReadMemory
  /** Where the next read begins. */
  used: number
  /** Chunks of it that were handed out and not let go. */
  lent: number
  lentBytes: number
  /** What its chunks keep beside their own bytes, once no read uses it. */
  readonly waste: WasteShare
  /** No read uses it at the moment: the last chunk gives it back. */
  parked: boolean
  /** Something else may still look into it: it is not used again. */
  lost: boolean
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
  const isKept = piece.parked && piece.lent > 0
  piece.waste.set(isKept ? pieceBytes - piece.lentBytes : 0)
}

/**
 * The memory that a socket reads into. It is reused once none of its chunks is needed: a new piece
 * for each read would keep the collector busy.
 */
export class ReadMemory {
  /** Whether the transport still looks into this memory. Until told otherwise it does. */
  isHeld: (memory: ArrayBufferLike) => boolean = () => true
  readonly waste = new Waste(connectionWasteBytes, processWaste)
  #current = this.#newPiece(firstPiece)
  readonly #spares: Piece[] = []
  #isBusy = false

  /** The memory for the socket's next read, of at most that many bytes. */
  next(bytes = readBytesMax): Buffer {
    const current = this.#current
    const held = this.isHeld(current.memory.buffer)
    if (current.lent === 0 && !held) current.used = 0
    const isFirst = current.memory === firstPiece
    // A client that has not logged in does not get more memory by sending more.
    if (isFirst ? this.#isBusy && !held : pieceBytes - current.used < readBytesMax) {
      current.parked = true
      current.lost = isFirst || held || current.lent === 0
      recount(current)
      this.#current = this.#spares.pop() ?? this.#newPiece(Buffer.allocUnsafeSlow(pieceBytes))
    }
    const { memory, used } = this.#current
    return memory.subarray(used, used + bytes)
  }

  /** Passes the read bytes to `take`, which lends the chunks that it hands out. */
  read(bytes: number, take: (chunk: Buffer) => void): void {
    const current = this.#current
    this.#isBusy ||= bytes === firstPiece.length
    const chunk = current.memory.subarray(current.used, current.used + bytes)
    if (bytes < lendBytesMin) return take(Buffer.from(chunk))
    current.used += bytes
    take(chunk)
  }

  /** No chunk of this piece is needed. */
  isFree(piece: Piece): void {
    // A read that had to wait may have left a torn packet behind since.
    piece.lost ||= piece.parked && this.isHeld(piece.memory.buffer)
    if (!piece.parked || piece.lost || this.#spares.length >= sparesMax) return
    piece.parked = false
    piece.used = 0
    this.#spares.push(piece)
  }

  #newPiece(memory: Buffer): Piece {
    const waste = new WasteShare(this.waste)
    const counts = { used: 0, lent: 0, lentBytes: 0 }
    const piece = { memory, owner: this, ...counts, waste, parked: false, lost: false }
    // The first piece is nobody's own: its bytes are copied, and so are all short reads.
    if (memory === firstPiece) return piece
    pieces.set(memory.buffer, piece)
    waste.endWith(memory.buffer)
    return piece
  }
}
