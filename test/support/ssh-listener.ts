import { createServer, type Socket } from 'node:net'
import {
  type AuthAttempt,
  type Channel,
  type Connection,
  createSshServer,
  generateHostKey,
  type SshServerOptions,
  verifyUserSignature,
} from '../../src/ssh/index.ts'
import { silent } from './ssh-pair.ts'

/** Our server on a port of 127.0.0.1. */
export interface Listener {
  readonly port: number
  readonly connections: readonly Connection[]
  close(): Promise<void>
}

/** Lets in everybody who signs; `ready` has each connection before anything happens on it. */
export async function listenForClients(
  ready: (connection: Connection) => void = () => {},
  options: Partial<SshServerOptions> = {},
  tried: (attempt: AuthAttempt) => void = () => {},
): Promise<Listener> {
  const ssh = createSshServer({
    hostKeys: [generateHostKey()],
    ident: 'VaultTerm',
    loginGraceMs: 60_000,
    authTriesMax: 6,
    channelsMax: 8,
    log: silent,
    ...options,
  })
  const connections: Connection[] = []
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    ssh.serve(socket, {
      authenticate: async (attempt) => {
        tried(attempt)
        const { key, algorithm, signature, signedData } = attempt
        return verifyUserSignature({ key, algorithm, signature, data: signedData })
      },
      ready: (connection) => {
        connections.push(connection)
        ready(connection)
      },
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return {
    port: address.port,
    connections,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** Every session says what it hears, until it hears no more. */
export function echoSessions(connection: Connection): void {
  connection.onChannelOpen = (open) => echo(open.accept())
}

function echo(channel: Channel): void {
  channel.handle({
    data: (chunk) => channel.write(chunk, () => channel.consumed(chunk.length)),
    extendedData: (_kind, chunk) => channel.drop(chunk),
    request: (request) => request.reply(['exec', 'shell'].includes(request.name)),
    eof: () => {
      void channel.request('exit-status', Buffer.alloc(4), false)
      channel.eof()
      channel.close()
    },
    close: () => {},
  })
}
