import { timingSafeEqual } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { errorCode } from '../errors.ts'
import type { Log } from '../log.ts'
import {
  createSshServer,
  openFailure,
  type ServerHostKey,
  verifyUserSignature,
} from '../ssh/index.ts'
import { openDemoAccount } from './demo-account.ts'
import { serveSession } from './demo-session.ts'
import { keepHostKeys } from './host-keys.ts'
import { keepPrivateDirectory, readIfThere, writePrivateFile } from './private-file.ts'

/** The server behind the demo: a real shell on this machine that only the bastion can log in to. */
export interface DemoTarget {
  readonly host: string
  readonly port: number
  readonly login: string
  readonly hostKeys: readonly ServerHostKey[]
  /**
   * The name of the user that its shell runs as; undefined when that is the user of this process,
   * whose keys the shell can then read.
   */
  readonly separateUser: string | undefined
  /** Hangs up on the programs that run there. */
  close(): Promise<void>
}

/** The demo target listens on this machine only. */
export const demoHost = '127.0.0.1'
const connectionsMax = 1000

/**
 * Starts the demo target. It accepts one key, `accepts`, whose private half is the tenant's own and
 * never leaves the vault. The directory keeps its host keys, and its port for the next start.
 */
export async function startDemoTarget(options: {
  readonly directory: string
  /** A public key, RFC 4253. */
  readonly accepts: Buffer
  readonly log: Log
}): Promise<DemoTarget> {
  const { directory, accepts } = options
  const log = options.log.child({ module: 'local', part: 'demo target' })
  await keepPrivateDirectory(directory)
  const account = await openDemoAccount(directory, log)
  const hostKeys = await keepHostKeys(join(directory, 'web1'))
  const ssh = createSshServer({
    hostKeys,
    ident: 'VaultTerm_demo',
    authTriesMax: 6,
    channelsMax: 100,
    loginGraceMs: 20_000,
    log,
  })
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true })
  server.maxConnections = connectionsMax
  server.on('error', (err) => log.error({ err }, 'listener error'))
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => sockets.delete(socket))
    ssh.serve(socket, {
      authenticate: async ({ user, algorithm, key, signature, signedData: data }) =>
        user === account.login &&
        key.length === accepts.length &&
        timingSafeEqual(key, accepts) &&
        verifyUserSignature({ key, algorithm, signature, data }),
      ready: (connection) => {
        connection.onChannelOpen = (open) => {
          if (open.type === 'session') serveSession(open.accept(), account, log)
          else
            open.reject(openFailure.administrativelyProhibited, 'the demo target has sessions only')
        }
      },
    })
  })
  const port = await listenAsBefore(server, join(directory, 'port')).catch(async (err: unknown) => {
    await account.close()
    throw err
  })
  log.info({ port, user: account.separate?.name }, 'demo target is up')
  return {
    host: demoHost,
    port,
    login: account.login,
    hostKeys,
    separateUser: account.separate?.name,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of sockets) socket.destroy()
      await closed
      await account.close()
    },
  }
}

/** Listens on the port of the last start, so that the target's address stays; on a free one when it is taken. */
async function listenAsBefore(server: Server, path: string): Promise<number> {
  const before = Number((await readIfThere(path)) ?? 0)
  const isPort = Number.isInteger(before) && before > 1023 && before < 65_536
  const port = await listen(server, isPort ? before : 0).catch((err: unknown) => {
    if (errorCode(err) === 'EADDRINUSE') return listen(server, 0)
    throw err
  })
  if (port !== before) await writePrivateFile(path, `${port}\n`)
  return port
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: demoHost, port, backlog: 512 }, () => {
      server.off('error', reject)
      const address = server.address()
      if (address === null || typeof address === 'string') reject(new Error('no address'))
      else resolve(address.port)
    })
  })
}
