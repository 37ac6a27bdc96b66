import type { Socket } from 'node:net'
import type { CodedError } from '../../errors.ts'
import { Headcount } from '../../headcount.ts'
import { background, type Log } from '../../log.ts'
import { pacedLog } from '../../paced-log.ts'
import {
  type Channel,
  type Connection,
  createSshServer,
  type Departure,
  parseCertificate,
  readFor,
  type ServerHostKey,
  type SshServer,
} from '../../ssh/index.ts'
import type { Client, ConnectionId, Jump } from '../wire/calls.ts'
import { CallRefused, SessionKilled } from '../wire/errors.ts'
import { KillNotices } from '../wire/kill-notices.ts'
import type { Leave } from '../wire/messages.ts'
import { ChannelStream } from './channel-stream.ts'
import { ClientConnection, requestId } from './connection.ts'
import type { ServiceDeps } from './deps.ts'
import { Draining, HostKeysRenewed, NodeLeaseLapsed } from './errors.ts'
import { refusalLine } from './refusal.ts'

export interface ServiceHandlers {
  /** For the key exchange: see ServerHandlers. */
  readonly cookie: Buffer
  /** The client leaves, and has not logged in. */
  left(how: Departure): void
  /** The connection has ended completely. */
  closed(): void
}

/** Speaks SSH with the clients of one worker. */
export interface Service {
  /** Takes over an admitted connection. */
  serve(socket: Socket, id: ConnectionId, source: string, handlers: ServiceHandlers): void
  /** Another client needs the room more than a connection without a login. */
  evict(id: ConnectionId): void
  /** Sessions that are not over. */
  readonly sessions: number
  /** Whether a client logs in, has just logged in, or has just ended a session and may open another. */
  readonly expectsSession: boolean
  kill(session: string, reason: string): void
  /** One forward of a session that goes on. */
  endForward(forward: string, reason: string): void
  /** The node's lease has run out: ends the same, and goes on to serve those that come then. */
  lapse(): Promise<void>
  /** Ends the remaining sessions, each with a message to its user, and closes every socket. */
  close(leave: Leave): Promise<void>
}

/** How long sessions get to write their end on record before the sockets go. */
const farewellMs = 1500
const lastWordsMs = 300
/** How long a login takes at most, if a person need not type for it. */
const loginMs = 10_000
/** How soon a client opens its first session, or the next one in a row. */
const nextSessionMs = 2000
/** Room for channels that are over their own limit, so that each is refused by itself, with its reason. */
const spareChannels = 64

export function createService(deps: ServiceDeps): Service {
  const { broker, limits, log } = deps
  const clients = new Set<ClientConnection>()
  const sockets = new Map<ConnectionId, Socket>()
  /** Since when each connection without a login is there. */
  const arrivals = new Map<ConnectionId, number>()
  const sessionsOf = new Headcount(limits.sessionsPerUserMax)
  const kills = new KillNotices()
  const server = {
    hostKeys: deps.hostKeys,
    ident: 'VaultTerm',
    authTriesMax: limits.authTriesMax,
    channelsMax: limits.channelsPerConnectionMax + limits.forwardsPerConnectionMax + spareChannels,
    loginGraceMs: limits.loginGraceMs,
    keepalive: limits.keepalive,
    log,
  }
  const ssh = createSshServer(server)
  const sessions = () => [...clients].reduce((sum, client) => sum + client.sessions, 0)

  function open(id: ConnectionId, connection: Connection, client: Client, about: Log): void {
    const opened = new ClientConnection({
      deps,
      id,
      connection,
      client,
      log: about,
      sessionsOf,
      kills,
      jump: (jump) => prepareJump(jump, about),
    })
    clients.add(opened)
    background(
      opened.settled.then(() => clients.delete(opened)),
      about,
      'the end of a connection',
    )
  }

  /**
   * Returns the function that serves the connection inside a channel. Its user is the one of the
   * outer connection. Every step that may throw runs here, before the channel is accepted.
   */
  function prepareJump(jump: Jump, about: Log): (channel: Channel) => void {
    try {
      const inner = createSshServer({ ...server, hostKeys: hostKeysFor(deps.hostKeys, jump) })
      return (channel) => serveJump(inner, channel, jump, about)
    } catch (err) {
      deps.jumpClosed(jump.connection)
      throw err
    }
  }

  function serveJump(
    inner: SshServer,
    channel: Channel,
    { connection: id, target }: Jump,
    about: Log,
  ): void {
    const stream = new ChannelStream(channel)
    stream.on('error', () => stream.destroy())
    arrivals.set(id, performance.now())
    stream.once('close', () => {
      arrivals.delete(id)
      deps.jumpClosed(id)
    })
    let client: Client | undefined
    inner.serve(stream, {
      authenticate: async () => false,
      admit: async (user) => {
        const answer = await broker.enterJump(id, user)
        if ('denied' in answer) return { refusal: refusalLine(answer, requestId()) }
        client = answer
        return true
      },
      ready: (connection) => {
        arrivals.delete(id)
        if (client === undefined) return connection.destroy()
        open(id, connection, client, about.child({ jump: target }))
      },
    })
  }

  /** Those that come meanwhile are left alone. */
  async function endAll(reason: CodedError, outcome: string, parting: string): Promise<void> {
    const [leaving, left] = [[...clients], [...sockets.values()]]
    for (const client of leaving) client.endSessions(() => true, reason, outcome)
    const deadline = performance.now() + farewellMs
    while (leaving.some((client) => client.sessions > 0) && performance.now() < deadline) {
      await wait(20)
    }
    for (const client of leaving) client.disconnect(parting)
    // The last messages must leave before the sockets are closed.
    const last = performance.now() + lastWordsMs
    while (left.some(({ destroyed }) => !destroyed) && performance.now() < last) await wait(20)
    for (const socket of left) socket.destroy()
  }

  return {
    serve(socket, id, source, { left, closed, cookie }) {
      // Until another listener is added, an error here would be uncaught.
      socket.on('error', () => socket.destroy())
      sockets.set(id, socket)
      arrivals.set(id, performance.now())
      let client: Client | undefined
      ssh.serve(socket, {
        cookie,
        authenticate: async (attempt) => {
          try {
            client = await broker.login(id, attempt)
          } catch (err) {
            // No real name or key is that long.
            if (err instanceof CallRefused) return false
            throw err
          }
          return client !== undefined
        },
        left,
        ready: (connection) => {
          arrivals.delete(id)
          if (client === undefined) return connection.destroy()
          if (client.oneTooMany) {
            return connection.disconnect(12, 'vaultterm: you have too many connections open')
          }
          const { tenant, user } = client
          readFor(socket, { tenant, user })
          open(id, connection, client, pacedLog(log.child({ tenant, user, source })))
        },
      })
      socket.once('close', () => {
        sockets.delete(id)
        arrivals.delete(id)
        closed()
      })
    },
    evict(id) {
      sockets.get(id)?.destroy()
    },
    get sessions() {
      return sessions()
    },
    get expectsSession() {
      const now = performance.now()
      return (
        [...arrivals.values()].some((atMs) => now - atMs < loginMs) ||
        [...clients].some(({ restMs }) => restMs < nextSessionMs)
      )
    },
    kill(session, reason) {
      kills.note(session, reason)
      for (const client of clients) {
        client.endSessions((id) => id === session, new SessionKilled(reason), 'killed')
      }
    },
    endForward(forward, reason) {
      kills.note(forward, reason)
      for (const client of clients) client.endForward(forward, reason)
    },
    lapse: () => endAll(new NodeLeaseLapsed(), 'lease-lapsed', 'the bastion has lost its database'),
    close: (leave) =>
      endAll(
        new Draining(leave),
        'drained',
        leave === 'restart' ? 'the bastion is restarting' : 'the bastion is stopping',
      ),
  }
}

/** The host keys for a jump, the one that its certificate is for with that certificate. */
function hostKeysFor(
  hostKeys: readonly ServerHostKey[],
  { certificate }: Jump,
): readonly ServerHostKey[] {
  if (certificate === undefined) return hostKeys
  const parsed = parseCertificate(certificate)
  const certified = 'certificate' in parsed ? parsed.certificate.publicKey : undefined
  const isCertified = ({ publicKey }: ServerHostKey) => certified?.equals(publicKey.blob) === true
  // The bastion got a new host key after this worker was started, which shows the old one.
  if (!hostKeys.some(isCertified)) throw new HostKeysRenewed()
  return hostKeys.map((key) => (isCertified(key) ? { ...key, certificate } : key))
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
