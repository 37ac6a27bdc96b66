import { createServer } from 'node:net'
import {
  type Channel,
  createSshServer,
  formatPublicKey,
  generateHostKey,
  verifyUserSignature,
} from '../../src/ssh/index.ts'
import { silent } from '../support/ssh-pair.ts'

export interface HonestTarget {
  readonly port: number
  readonly hostKey: string
  close(): void
}

/**
 * A target that says `well` to every command but `cat`, which it is. No shell of this machine runs:
 * hundreds of them a second, each killed before it is done, would be felt far from here.
 */
export async function startHonestTarget(): Promise<HonestTarget> {
  const hostKey = generateHostKey()
  const ssh = createSshServer({
    hostKeys: [hostKey],
    ident: 'Honest',
    loginGraceMs: 60_000,
    authTriesMax: 3,
    channelsMax: 64,
    log: silent,
  })
  const server = createServer((socket) =>
    ssh.serve(socket, {
      authenticate: async ({ key, algorithm, signature, signedData }) =>
        verifyUserSignature({ key, algorithm, signature, data: signedData }),
      ready: (connection) => {
        connection.onChannelOpen = (open) => serve(open.accept())
      },
    }),
  )
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return {
    port: address.port,
    hostKey: formatPublicKey(hostKey.publicKey),
    close: () => void server.close(),
  }
}

function serve(channel: Channel): void {
  const end = () => {
    void channel.request('exit-status', Buffer.alloc(4), false)
    channel.close()
  }
  channel.handle({
    data: (chunk) => channel.write(Buffer.from(chunk), () => channel.consumed(chunk.length)),
    extendedData: (_kind, chunk) => channel.drop(chunk),
    request(request) {
      request.reply(true)
      if (request.name !== 'exec' || request.payload.toString('latin1', 4) === 'cat') return
      channel.write(Buffer.from('well\n'), () => {})
      end()
    },
    eof: end,
    close() {},
  })
}
