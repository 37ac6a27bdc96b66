import { smallBytes } from '../../chunks.ts'
import type { ChannelHandlers } from './channel-handlers.ts'
import { ProtocolBroken } from './errors.ts'
import { packetBytesMax } from './outgoing.ts'
import { SmallPieces } from './small-pieces.ts'

/** Changes between the two kinds of data, and chunks that are not joined. */
const entriesMax = 16_384
/** Of all requests: an exit status and the like are short. */
const requestBytesMax = 64 * 1024

type Tell = (handlers: ChannelHandlers) => void

/**
 * What came on a channel before its owner listens, in its order. A target may send for as long as it keeps
 * us waiting, so what is held costs its bytes and little more, whatever the target cut them into.
 */
export class HeldEvents {
  #events: (SmallPieces | Tell)[] = []
  #entries = 0
  #requestBytes = 0

  data(chunk: Buffer, kind: number): void {
    if (chunk.length >= smallBytes || (kind !== 0 && kind !== 1)) {
      this.event((handlers) => tellData(handlers, chunk, kind))
      return this.#count(1)
    }
    let last = this.#events.at(-1)
    if (!(last instanceof SmallPieces)) {
      last = new SmallPieces()
      this.#events.push(last)
    }
    const { runs } = last
    last.add(chunk, kind)
    this.#count(last.runs - runs)
  }

  request(bytes: number, tell: Tell): void {
    this.#requestBytes += bytes
    if (this.#requestBytes > requestBytesMax)
      throw new ProtocolBroken('too long requests came early')
    this.event(tell)
  }

  event(tell: Tell): void {
    this.#events.push(tell)
  }

  /** Reports all of it, and holds nothing any longer. */
  tell(handlers: ChannelHandlers): void {
    const events = this.#events
    this.#events = []
    for (const event of events) {
      if (event instanceof SmallPieces) tellPieces(handlers, event)
      else event(handlers)
    }
  }

  #count(entries: number): void {
    this.#entries += entries
    if (this.#entries > entriesMax) throw new ProtocolBroken('too many pieces came early')
  }
}

/** In chunks that are no longer than those of a packet. */
function tellPieces(handlers: ChannelHandlers, pieces: SmallPieces): void {
  for (let run = pieces.take(); run !== undefined; run = pieces.take()) {
    const { chunk, kind } = run
    for (let at = 0; at < chunk.length; at += packetBytesMax) {
      tellData(handlers, chunk.subarray(at, at + packetBytesMax), kind)
    }
  }
}

function tellData(handlers: ChannelHandlers, chunk: Buffer, kind: number): void {
  if (kind === 0) handlers.data(chunk)
  else handlers.extendedData(kind, chunk)
}
