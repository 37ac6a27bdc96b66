import { connect, createServer, type Socket } from 'node:net'

/** A way to a port that takes so long, and how much was ever on it at once. */
export interface Distance {
  readonly port: number
  /** The most bytes that were on their way to the port, and from it. */
  readonly most: { to: number; from: number }
  close(): void
}

/** Delays every byte by the same time each way, whatever there is of them. */
export async function openDistance(port: number, delayMs: number): Promise<Distance> {
  const most = { to: 0, from: 0 }
  const sockets = new Set<Socket>()
  const join = (source: Socket, target: Socket, way: 'to' | 'from') => {
    let underway = 0
    sockets.add(source)
    source.on('data', (chunk: Buffer) => {
      underway += chunk.length
      most[way] = Math.max(most[way], underway)
      setTimeout(() => {
        underway -= chunk.length
        if (!target.destroyed) target.write(chunk)
      }, delayMs)
    })
    source.on('error', () => target.destroy())
    source.on('end', () => setTimeout(() => target.end(), delayMs))
    source.on('close', () => setTimeout(() => target.destroy(), delayMs))
  }
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port, host: '127.0.0.1', noDelay: true })
    join(near, far, 'to')
    join(far, near, 'from')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return {
    port: address.port,
    most,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
