import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { adoptSocket } from '../../src/ssh/ssh2/sockets.ts'

/** Connections whose one end is adopted as it comes, as in a worker. Dispose of them after the test. */
export class AdoptedSockets implements Disposable {
  readonly #close: (() => void)[] = []

  async open() {
    const came = Promise.withResolvers<Socket>()
    const server = createServer({ pauseOnConnect: true }, (socket) =>
      came.resolve(adoptSocket(socket)),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (typeof address !== 'object' || address === null) throw new Error('no address')
    const client = connect(address.port, '127.0.0.1')
    const socket = await came.promise
    this.#close.push(() => {
      client.destroy()
      socket.destroy()
      server.close()
    })
    return { client, socket }
  }

  [Symbol.dispose](): void {
    for (const close of this.#close.splice(0)) close()
  }
}
