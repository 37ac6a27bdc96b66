import type { Socket } from 'node:net'
import { CodedError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { SessionId } from '../../recorder/index.ts'
import {
  ChannelOpenRefused,
  type Connection,
  ConnectionClosed,
  connectUpstream,
  dialProblem,
  hostKeyOffer,
  openSocket,
  readFor,
} from '../../ssh/index.ts'
import type { Authorization, ConnectionId } from '../wire/calls.ts'
import type { ServiceDeps } from './deps.ts'
import {
  TargetFailed,
  TargetHostKeyChanged,
  TargetRefused,
  TargetRefusedKey,
  TargetUnreachable,
} from './errors.ts'
import type { TargetNames } from './target-names.ts'

const connectMs = 10_000
const handshakeMs = 20_000

/** A session that needs a connection to its target. */
export interface UpstreamNeed {
  readonly authorization: Authorization
  readonly session: SessionId
  /** Aborted when the session ends, with the message to its user: all waiting stops. */
  readonly ended: AbortSignal
}

/**
 * Opens the connection to the target of an authorization, and to no other address.
 *
 * The target must show a host key on record before we prove anything to it. The vault proves our
 * identity, by a signature for this session only. When the session ends first, so does the dial.
 */
export async function dial(
  deps: ServiceDeps,
  client: ConnectionId,
  { authorization, session, ended }: UpstreamNeed,
  log: Log,
): Promise<Connection> {
  const { id, target, login } = authorization
  const stopTimer = deps.metrics.upstreamSeconds.startTimer()
  const lease = await deps.broker.leaseKey(client, id, session)
  ended.throwIfAborted()
  const socket = await connectTo(authorization, deps.names, ended)
  const abort = () => {
    socket.destroy()
  }
  ended.addEventListener('abort', abort)
  // The vault's error matters more to the user than the target's reaction to it.
  let refusedByVault: unknown
  try {
    ended.throwIfAborted()
    const connection = await connectUpstream({
      socket,
      user: login,
      hostKeyTypes: hostKeyOffer(target),
      // The worker knows the keys on record too. The main process checks again before it signs.
      verifyHostKey: async (blob) =>
        target.hostKeys.some((known) => known.blob.equals(blob)) ||
        deps.broker.checkHostKey(client, id, blob),
      key: {
        publicKey: lease.publicKey,
        ...(lease.certificate === undefined ? {} : { certificate: lease.certificate }),
        sign: async (data, algorithm, proof) => {
          try {
            return await deps.broker.sign(client, lease.id, data, algorithm, proof)
          } catch (err) {
            refusedByVault = err
            throw err
          }
        },
      },
      handshakeMs,
      keepalive: deps.limits.targetKeepalive,
      log,
    })
    ended.throwIfAborted()
    stopTimer()
    return connection
  } catch (err) {
    socket.destroy()
    ended.throwIfAborted()
    log.warn({ err, session, target: target.id }, 'upstream dial failed')
    if (refusedByVault instanceof CodedError) throw refusedByVault
    throw explain(err, authorization)
  } finally {
    // From here on it is not this session's alone.
    ended.removeEventListener('abort', abort)
  }
}

/** The answer, or why the one that waits for it has ended. */
export async function unlessEnded<T>(answer: Promise<T>, ended: AbortSignal): Promise<T> {
  const over = Promise.withResolvers<never>()
  const abort = () => over.reject(ended.reason)
  ended.addEventListener('abort', abort)
  if (ended.aborted) abort()
  try {
    return await Promise.race([over.promise, answer])
  } finally {
    ended.removeEventListener('abort', abort)
  }
}

/** A connected socket without Nagle's delay: a keystroke is one small packet and must not wait. */
function connectTo(
  { target: { name, host, port }, tenant, user }: Authorization,
  names: TargetNames,
  ended: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const owner = { tenant, user: user.name }
    const socket = openSocket(host, port, names.lookupFor(owner))
    readFor(socket, owner)
    const settle = () => {
      clearTimeout(timer)
      ended.removeEventListener('abort', abort)
    }
    const abort = () => {
      settle()
      socket.destroy()
      reject(ended.reason)
    }
    const fail = (what: string, cause?: unknown) => {
      settle()
      socket.destroy()
      reject(
        new TargetUnreachable(
          `${name} does not answer at ${host}:${port} (${what}); check that it is up and that its SSH server listens there`,
          { cause },
        ),
      )
    }
    const timer = setTimeout(() => fail(`no answer in ${connectMs / 1000} s`), connectMs)
    socket.once('error', (err: NodeJS.ErrnoException) => fail(dialProblem(err), err))
    ended.addEventListener('abort', abort)
    socket.once('connect', () => {
      settle()
      socket.removeAllListeners('error')
      resolve(socket)
    })
  })
}

/** The meaning of a failed handshake, in words for the user. */
function explain(cause: unknown, { target, login, tenantSlug }: Authorization): CodedError {
  const code = cause instanceof CodedError ? cause.code : undefined
  const { name } = target
  switch (code) {
    case 'ERR_UPSTREAM_HOST_KEY':
      return new TargetHostKeyChanged(
        `the host key of ${name} is not the one on record, so the bastion did not log in there; ask the operator of this bastion: if the host was reinstalled, its new key is registered with "vaultterm target update ${tenantSlug} ${name} --scan --replace"`,
        { cause },
      )
    case 'ERR_UPSTREAM_AUTH':
      return new TargetRefusedKey(
        `${name} does not accept the bastion's key for ${login}; an administrator must run the output of "vaultterm target onboard ${tenantSlug} ${name}" on it`,
        { cause },
      )
    case 'ERR_UPSTREAM_HOST_PROOF':
      return new TargetFailed(
        `${name} signed the key exchange in a malformed way, so the bastion did not log in there; update its SSH server`,
        { cause },
      )
    case 'ERR_UPSTREAM_TIMEOUT':
      return new TargetFailed(
        `${name} accepted the connection and then took too long; try again, or check its load`,
        { cause },
      )
    default:
      return new TargetFailed(
        `${name} broke off the connection before the login was done; its own log says why`,
        { cause },
      )
  }
}

/**
 * The meaning, in words for the user, of a session that did not open on a target that had accepted
 * us.
 */
export function explainOpen(cause: unknown, { target: { name } }: Authorization): unknown {
  if (cause instanceof ConnectionClosed) {
    return new TargetFailed(
      `${name} broke off the connection before the session began; its own log says why`,
      { cause },
    )
  }
  if (cause instanceof ChannelOpenRefused) {
    return new TargetRefused(
      `${name} refused to open a session; MaxSessions of its sshd may be reached, its own log says why`,
      { cause },
    )
  }
  return cause
}
