import { Duplex } from 'node:stream'
import type { Channel } from '../../ssh/index.ts'

const highWaterMark = 256 * 1024

/**
 * A channel as a stream of bytes, for a connection inside a connection. Credit goes back to the
 * sender as the reader takes the bytes, so at most one window of them is ever here.
 */
export class ChannelStream extends Duplex {
  readonly #channel: Channel
  /** The number of received bytes for which credit is still owed to the sender. */
  #owed = 0

  constructor(channel: Channel) {
    // A connection that has ended one way is over, as on a socket: no other code would end the
    // other way.
    super({ highWaterMark, allowHalfOpen: false })
    this.#channel = channel
    channel.handle({
      data: (chunk) => {
        this.#owed += chunk.length
        // A copy: its reader decrypts it in place, and does not say when it needs it no longer.
        const copy = Buffer.from(chunk)
        channel.letGo(chunk)
        if (this.push(copy)) this.#giveBack()
      },
      extendedData: (_kind, chunk) => channel.drop(chunk),
      request: (request) => request.reply(false),
      eof: () => this.push(null),
      close: () => this.destroy(),
    })
  }

  override _read(): void {
    this.#giveBack()
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
    this.#channel.close()
    done(err)
  }

  #giveBack(): void {
    const bytes = this.#owed
    this.#owed = 0
    if (bytes > 0) this.#channel.consumed(bytes)
  }
}
