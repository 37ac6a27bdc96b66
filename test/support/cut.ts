import { connect, createServer, type Server, type Socket } from 'node:net'

/** Which side's bytes are counted, and so which side vanishes. */
export type Side = 'caller' | 'server'

/**
 * A way to a server that breaks off once a side has sent so many bytes: what it had sent by then
 * arrives, and nothing more in either direction.
 */
export class Cut {
  readonly port: number
  /** How many bytes each piece of the last connection ended at, by side. */
  pieces: Readonly<Record<Side, number[]>> = { caller: [], server: [] }
  #limit: { readonly side: Side; readonly bytes: number } | undefined
  readonly #server: Server
  readonly #open = new Set<Socket>()

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
  }

  static async start(to: number): Promise<Cut> {
    const server = createServer()
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no address')
    const cut = new Cut(server, address.port)
    server.on('connection', (caller) => cut.#carry(caller, connect(to, '127.0.0.1')))
    return cut
  }

  /** From the next connection on; without a side, nothing is cut. */
  after(bytes = 0, side?: Side): void {
    this.#limit = side && { side, bytes }
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy()
    await new Promise((done) => this.#server.close(done))
  }

  #carry(caller: Socket, server: Socket): void {
    const limit = this.#limit
    const pieces: Record<Side, number[]> = { caller: [], server: [] }
    this.pieces = pieces
    let isCut = false
    // The sender is gone at once. The receiver gets the end behind the last byte; whatever it still says
    // is read and dropped: a close over unread bytes would be a reset, which drops what it has not read.
    const cut = (from: Socket, to: Socket) => {
      isCut = true
      to.end()
      to.resume()
      from.destroySoon()
    }
    const pass = (side: Side, from: Socket, to: Socket) => {
      let sum = 0
      this.#open.add(from)
      from.on('data', (chunk: Buffer) => {
        const left = limit?.side === side ? limit.bytes - sum : Number.POSITIVE_INFINITY
        sum += chunk.length
        pieces[side].push(sum)
        if (left > 0 && !to.destroyed && to.writable) {
          const isFull = !to.write(chunk.subarray(0, left))
          if (isFull) from.pause()
        }
        if (chunk.length >= left) cut(from, to)
      })
      to.on('drain', () => from.resume())
      from.on('end', () => to.end()).on('error', () => to.destroySoon())
      from.on('close', () => {
        this.#open.delete(from)
        if (!isCut) to.destroySoon()
      })
    }
    pass('caller', caller, server)
    pass('server', server, caller)
    if (limit?.bytes === 0) for (const socket of [caller, server]) socket.destroySoon()
  }
}
