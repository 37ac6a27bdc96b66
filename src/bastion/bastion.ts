import { createServer, type Server, type Socket } from 'node:net'
import type { Listen } from '../config.ts'
import { createSshServer, socketBytes } from '../ssh/index.ts'
import { Admission } from './admission.ts'
import { ClientConnection } from './connection.ts'
import type { BastionDeps } from './deps.ts'
import { Draining, SessionKilled } from './errors.ts'
import { Headcount } from './headcount.ts'
import { KillNotices } from './kill-notices.ts'
import { type ClientFacts, login } from './login.ts'
import { Turns } from './turns.ts'

export interface Bastion {
  /** Starts to accept; the answer is where it really listens. */
  listen(listen: Listen): Promise<Listen>
  /** Live sessions now. */
  readonly sessions: number
  /** Accepts nobody new, and waits for live sessions to end: true when all did within the time. */
  drain(withinMs: number): Promise<boolean>
  /** Ends what is left, each session with a line for its user, and closes every socket. */
  close(): Promise<void>
}

const drainPollMs = 100
/** How long sessions get to write their end on record before the sockets go. */
const farewellMs = 1500
const lastWordsMs = 300
/** So many logins are looked up at a time: the rest of the database's connections is for who is in. */
const loginsMax = 6

export async function createBastion(deps: BastionDeps): Promise<Bastion> {
  const { limits, metrics, log } = deps
  const admission = new Admission(limits)
  const clients = new Set<ClientConnection>()
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true, keepAlive: true, highWaterMark: socketBytes })
  const connectionsOf = new Headcount(limits.connectionsPerUserMax)
  const sessionsOf = new Headcount(limits.sessionsPerUserMax)
  const kills = new KillNotices()
  const logins = new Turns(loginsMax)
  let draining = false

  const ssh = createSshServer({
    hostKeys: deps.hostKeys,
    ident: 'VaultTerm',
    authTriesMax: limits.authTriesMax,
    channelsMax: limits.channelsPerConnectionMax,
    loginGraceMs: limits.loginGraceMs,
    log,
  })

  server.on('connection', (socket) => accept(socket))
  // A listener's own errors (too many open files) must not end the process.
  server.on('error', (err) => log.error({ err }, 'listener error'))

  const stopListeningForKills = await deps.access.onKill((session, reason) => {
    kills.note(session, reason)
    for (const client of clients) {
      client.endSessions((id) => id === session, new SessionKilled(reason), 'killed')
    }
  })

  function accept(socket: Socket): void {
    const source = socket.remoteAddress ?? 'unknown'
    // Until somebody else listens, an error here would be uncaught.
    socket.on('error', () => socket.destroy())
    const admitted = draining ? 'draining' : admission.admit(source, () => socket.destroy())
    if (typeof admitted === 'string') {
      metrics.turnedAway.inc({ reason: admitted })
      socket.destroy()
      return
    }
    sockets.add(socket)
    metrics.connections.inc()
    const stopTimer = metrics.handshakeSeconds.startTimer()
    let facts: ClientFacts | undefined
    ssh.serve(socket, {
      authenticate: async (attempt) => {
        using _turn = await logins.take()
        facts = await login(deps, attempt, source)
        return facts !== undefined
      },
      ready: (connection) => {
        admitted.release()
        stopTimer()
        if (facts === undefined) return connection.destroy()
        const user = facts.identity.user.id
        if (!connectionsOf.enter(user)) {
          metrics.turnedAway.inc({ reason: 'user-limit' })
          return connection.disconnect(12, 'vaultterm: you have too many connections open')
        }
        const client = new ClientConnection({
          deps,
          connection,
          client: facts,
          log: log.child({ tenant: facts.identity.tenant, user, source }),
          sessionsOf,
          kills,
        })
        clients.add(client)
        void client.settled.then(() => {
          clients.delete(client)
          connectionsOf.leave(user)
        })
      },
    })
    socket.once('close', () => {
      admitted.release()
      sockets.delete(socket)
      metrics.connections.dec()
    })
  }

  const sessions = () => [...clients].reduce((sum, client) => sum + client.sessions, 0)

  return {
    listen: (listen) => listenOn(server, listen),
    get sessions() {
      return sessions()
    },
    async drain(withinMs) {
      draining = true
      server.close()
      const deadline = performance.now() + withinMs
      while (sessions() > 0 && performance.now() < deadline) await wait(drainPollMs)
      return sessions() === 0
    },
    async close() {
      draining = true
      server.close()
      await stopListeningForKills()
      for (const client of clients) client.endSessions(() => true, new Draining(), 'drained')
      const deadline = performance.now() + farewellMs
      while (sessions() > 0 && performance.now() < deadline) await wait(20)
      for (const client of clients) client.disconnect('the bastion is stopping')
      // What was said last must leave before the sockets are taken away.
      const last = performance.now() + lastWordsMs
      while (sockets.size > 0 && performance.now() < last) await wait(20)
      for (const socket of sockets) socket.destroy()
    },
  }
}

function listenOn(server: Server, { host, port }: Listen): Promise<Listen> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 512 }, () => {
      server.off('error', reject)
      const address = server.address()
      if (address === null || typeof address === 'string') return reject(new Error('no address'))
      resolve({ host, port: address.port })
    })
  })
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
