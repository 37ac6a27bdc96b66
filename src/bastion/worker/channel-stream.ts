import { Duplex } from 'node:stream'
import { Chunks } from '../../chunks.ts'
import type { Channel } from '../../ssh/index.ts'

const writableHighWaterMark = 256 * 1024
/** What its reader does not take waits here, joined: a stream would keep each small piece by itself. */
const readableHighWaterMark = 1

/**
 * A channel as a stream of bytes, for a connection inside a connection. Credit goes back to the
 * sender as the reader takes the bytes, so at most one window of them is ever here.
 */
export class ChannelStream extends Duplex {
  readonly #channel: Channel
  readonly #waiting = new Chunks()
  #isWanted = false
  #isEnded = false
  /** The number of received bytes for which credit is still owed to the sender. */
  #owed = 0

  constructor(channel: Channel) {
    // A connection that has ended one way is over, as on a socket: no other code would end the
    // other way.
    super({ readableHighWaterMark, writableHighWaterMark, allowHalfOpen: false })
    this.#channel = channel
    channel.handle({
      data: (chunk) => {
        // A copy: its reader decrypts it in place, and does not say when it needs it no longer.
        this.#waiting.add(Buffer.from(chunk))
        channel.letGo(chunk)
        this.#pass()
      },
      extendedData: (_kind, chunk) => channel.drop(chunk),
      request: (request) => request.reply(false),
      eof: () => {
        this.#isEnded = true
        this.#pass()
      },
      close: () => this.destroy(),
    })
  }

  override _read(): void {
    this.#giveBack()
    this.#isWanted = true
    this.#pass()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    let left = chunk.length
    this.#channel.write(chunk, (bytes) => {
      left -= bytes
      if (left === 0) done()
    })
  }

  override _writev(pieces: { chunk: Buffer }[], done: () => void): void {
    this._write(Buffer.concat(pieces.map(({ chunk }) => chunk)), 'binary', done)
  }

  override _final(done: () => void): void {
    this.#channel.eof()
    done()
  }

  override _destroy(err: Error | null, done: (err: Error | null) => void): void {
    this.#waiting.drain()
    this.#channel.close()
    done(err)
  }

  /** As much as the reader wants; the end is behind all of it. */
  #pass(): void {
    while (this.#isWanted && !this.destroyed) {
      const next = this.#waiting.shift()
      if (next === undefined) {
        if (this.#isEnded) this.push(null)
        return
      }
      this.#owed += next.length
      this.#isWanted = this.push(next)
      if (this.#isWanted) this.#giveBack()
    }
  }

  #giveBack(): void {
    const bytes = this.#owed
    this.#owed = 0
    if (bytes > 0) this.#channel.consumed(bytes)
  }
}
