import type { Duplex } from 'node:stream'
import ssh2, {
  type AuthContext,
  type IncomingClient,
  type Negotiated,
  type PublicKeyContext,
  type Server,
} from 'ssh2'
import { background, type Log } from '../../log.ts'
import type { BoundExchange } from '../bound-exchange.ts'
import { parseCertificate } from '../certificate.ts'
import { certifiedSignatureAlgorithm, signatureAlgorithms } from '../key-types.ts'
import { parsePublicKeyBlob } from '../public-key.ts'
import { hostKeyAlgorithms, serverAlgorithms } from './algorithms.ts'
import { assertCertified, certificateType } from './certified.ts'
import { type Connection, type Keepalive, SshConnection } from './connection.ts'
import type { ServerHostKey } from './host-key.ts'
import { announcement, HostKeyProver } from './host-key-proof.ts'
import type { RekeyLimits } from './key-exchanges.ts'
import { assertPatched } from './library.ts'

/** A signed login request. Only the signature proves anything, and it is not verified here. */
export interface AuthAttempt {
  readonly user: string
  /** As the request names it: `rsa-sha2-256`. */
  readonly algorithm: string
  /** The public key as the wire has it. */
  readonly key: Buffer
  /** The whole signature: the algorithm's name and its output. */
  readonly signature: Buffer
  /** The signed data: RFC 4252 section 7, over this connection's exchange hash. */
  readonly signedData: Buffer
  /** The key exchange behind that hash, where the handlers gave a cookie. */
  readonly exchange?: BoundExchange
}

export interface SshServerOptions {
  /**
   * The first of each type is shown. The others are announced beside it, so that clients know them
   * in advance.
   */
  readonly hostKeys: readonly ServerHostKey[]
  /** Our identification, without a version: a version would tell a stranger which faults to try. */
  readonly ident: string
  readonly loginGraceMs: number
  readonly authTriesMax: number
  readonly channelsMax: number
  /** When keys are exchanged anew, if not as usual. */
  readonly rekey?: Partial<RekeyLimits>
  /** Other than a peer's 15 minutes of silence. */
  readonly keepalive?: Keepalive
  readonly log: Log
}

export interface ServerHandlers {
  /** For our first KEXINIT: it shows in the exchange hash, which logins sign. A random one without it. */
  readonly cookie?: Buffer
  /** Verifies the signature, and decides whether the user may log in. */
  authenticate(attempt: AuthAttempt): Promise<boolean>
  /**
   * The user is known from the outer connection: says whether they may log in under this name, or
   * why not. Without this function a key is required.
   */
  admit?(user: string): Promise<true | { readonly refusal: string }>
  /** The login is done. Set the handlers of the connection before this returns. */
  ready(connection: Connection): void
  /** It ended without a login, and not for a fault of ours. */
  left?(how: Departure): void
}

/**
 * How a client left that did not log in: it tried no login, was refused, ran out of time, or broke
 * the protocol.
 */
export type Departure = 'silent' | 'refused' | 'late' | 'invalid'

/** A client before its login. */
interface Stranger {
  readonly handlers: ServerHandlers
  readonly grace: NodeJS.Timeout
  /** Its departure if it left now. */
  departure: Departure | undefined
}

export interface SshServer {
  /** Speaks SSH on a socket. Everything is released once the socket has closed. */
  serve(socket: Duplex, handlers: ServerHandlers): void
}

/** A login takes some dozens. */
const strangerPacketsMax = 1000
/** How long a disconnected client may take to read why. */
const lastWordsMs = 200

/**
 * Our side of the server role. One method, public key: every well-formed offer is accepted and
 * decides nothing; a signed request is checked, and its answer ends the try.
 */
export function createSshServer(options: SshServerOptions): SshServer {
  assertPatched()
  const { ident, log } = options
  const prover = new HostKeyProver(options.hostKeys)
  const hostKeys = options.hostKeys.filter(
    ({ publicKey: { type } }, index, all) =>
      all.findIndex((one) => one.publicKey.type === type) === index,
  )
  const server: Server = new ssh2.Server({
    hostKeys: hostKeys.map(({ privateKey, certificate }) => ({ key: privateKey, certificate })),
    ident,
    algorithms: serverAlgorithms(hostKeys.flatMap(shownTypes).flatMap(hostKeyAlgorithms)),
    // Keepalives are the connection's.
    keepaliveInterval: 0,
  })
  const strangers = new WeakMap<Duplex, Stranger>()

  server.on('connection', (client: IncomingClient, info: { header: { identRaw: string } }) => {
    const socket = client._sock
    const stranger = strangers.get(socket)
    const leaves = (how: Departure) => {
      if (stranger?.departure !== undefined) stranger.departure = how
    }
    // A listener of its own, or an error of this client's would be everybody's.
    client.on('error', (err: Error & { level?: string }) => {
      log.debug({ err }, 'ssh client error')
      if (err.level === 'protocol') leaves('invalid')
      connection.died(err)
      socket.end()
      setTimeout(() => socket.destroy(), lastWordsMs).unref()
    })
    const connection = new SshConnection({
      protocol: client._protocol,
      socket,
      peerIdent: printable(info.header.identRaw),
      channelsMax: options.channelsMax,
      rekey: options.rekey,
      ...(options.keepalive && { keepalive: options.keepalive }),
      answer: prover.forConnection(() => {
        const { sessionId } = client._protocol
        return sessionId === undefined ? undefined : { sessionId, algorithm }
      }),
      log,
    })
    let exchanges = 0
    let isIn = false
    let algorithm = ''
    client.on('handshake', ({ serverHostKey }: Negotiated) => {
      algorithm = serverHostKey
      // There is no traffic yet that needs new keys, and each exchange costs us more than the
      // client.
      if (++exchanges > 1 && !isIn) {
        leaves('invalid')
        return connection.disconnect(2, 'log in first')
      }
      connection.exchanged()
    })
    client.on('end', () => connection.died())
    // Packets that are ignored would cost a stranger nothing, and us our time.
    const count = () => {
      if (client._protocol.packetNumber < strangerPacketsMax) return
      leaves('invalid')
      connection.disconnect(2, 'log in first')
    }
    socket.on('data', count)
    if (stranger === undefined) return connection.destroy()
    const { handlers } = stranger
    // Our KEXINIT follows when this returns.
    if (handlers.cookie !== undefined) client._protocol.bindExchange(handlers.cookie)

    let tries = 0
    const failed = (context: AuthContext) => {
      leaves('refused')
      if (++tries < options.authTriesMax) return context.reject(['publickey'])
      log.info('too many failed logins on one connection')
      connection.disconnect(2, 'Too many authentication failures')
    }
    /** The login, or its beginning, failed by a fault of ours: only this connection fails. */
    const undecided = (err: unknown) => {
      log.error({ err }, 'a login could not be decided')
      connection.disconnect(11, 'the login cannot be checked at the moment; try again later')
    }
    const admit = (context: AuthContext, admission: NonNullable<ServerHandlers['admit']>) => {
      if (++tries > 1) return failed(context)
      const decide = async () => {
        const answer = await admission(context.username)
        if (answer === true) return context.accept()
        leaves('refused')
        connection.disconnect(2, answer.refusal)
      }
      decide().catch(undecided)
    }
    client.on('authentication', (context: AuthContext | PublicKeyContext) => {
      if (handlers.admit !== undefined) return admit(context, handlers.admit)
      // Some clients ask first which methods there are: that is no try.
      if (context.method === 'none') return context.reject(['publickey'])
      if (!isPublicKey(context)) return failed(context)
      const { rawSignature, blob, key, requestedAlgo, boundHostKey, shownHostKey } = context
      if (!isAcceptable(key.data, requestedAlgo)) return failed(context)
      // Bound to another host: a login meant for that host was forwarded to us.
      if (boundHostKey !== undefined && !boundHostKey.equals(shownHostKey)) return failed(context)
      // Accept every well-formed offer, so that probing a key reveals nothing.
      if (rawSignature === undefined || blob === undefined) return context.accept()
      const exchange = client._protocol.boundExchange
      const attempt: AuthAttempt = {
        user: context.username,
        algorithm: requestedAlgo,
        key: key.data,
        signature: rawSignature,
        signedData: blob,
        ...(exchange === undefined ? {} : { exchange }),
      }
      const decide = async () => {
        if (await handlers.authenticate(attempt)) context.accept()
        else failed(context)
      }
      decide().catch((err: unknown) => {
        stranger.departure = undefined
        undecided(err)
      })
    })
    client.once('ready', () => {
      clearTimeout(stranger.grace)
      client._protocol.forgetBoundExchange()
      stranger.departure = undefined
      isIn = true
      socket.off('data', count)
      connection.start()
      const announced = connection.globalRequest(announcement, prover.announced, false)
      background(announced, log, 'the announcement of the host keys')
      handlers.ready(connection)
    })
  })

  return {
    serve(socket, handlers) {
      // Counts from the first moment: a silent client is cut off like one that stalls.
      const grace = setTimeout(() => {
        stranger.departure = 'late'
        socket.destroy()
      }, options.loginGraceMs)
      const stranger: Stranger = { handlers, grace, departure: 'silent' }
      strangers.set(socket, stranger)
      socket.on('error', () => socket.destroy())
      socket.once('close', () => {
        clearTimeout(grace)
        if (stranger.departure !== undefined) handlers.left?.(stranger.departure)
      })
      server.injectSocket(socket)
    },
  }
}

/** The types under which a host key is shown. */
function shownTypes({ publicKey, certificate }: ServerHostKey): readonly string[] {
  if (certificate === undefined) return [publicKey.type]
  assertCertified(publicKey, certificate)
  return [publicKey.type, certificateType(publicKey.type)]
}

function isPublicKey(context: AuthContext): context is PublicKeyContext {
  return context.method === 'publickey'
}

/** Whether this key could be registered, or certified, and may sign with this algorithm. */
function isAcceptable(blob: Buffer, algorithm: string): boolean {
  const plain = certifiedSignatureAlgorithm(algorithm)
  if (plain !== undefined) {
    const parsed = parseCertificate(blob)
    return 'certificate' in parsed && isAcceptable(parsed.certificate.publicKey, plain)
  }
  const parsed = parsePublicKeyBlob(blob)
  return 'key' in parsed && signatureAlgorithms(parsed.key.type).includes(algorithm)
}

/** An identification comes from a stranger, and goes to logs and to the record. */
function printable(ident: string): string {
  return ident.replace(/[^\x20-\x7e]/g, '').slice(0, 255)
}
