import type {
  Authorization,
  ChannelKind,
  Denial,
  FileOperation,
  SessionOutcome,
  SessionStart,
  TargetChoice,
} from '../access/index.ts'
import type { LoginCertificate } from '../auth/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { AuthAttempt, HostProof } from '../ssh/index.ts'
import type { KeyLease } from '../vault/index.ts'
import type { Destination } from './jump.ts'

/** One connection of a client's, as the main process numbered it. */
export type ConnectionId = string & { readonly brand: 'ConnectionId' }

/** Somebody who proved who they are: what a worker may know of them. */
export interface Client {
  readonly user: string
  readonly tenant: string
  readonly tenantSlug: string
  /** They have as many connections as anybody may: this one is told so, and ends. */
  readonly oneTooMany: boolean
  /** What the certificate that they came with binds them to. */
  readonly bounds: Pick<LoginCertificate, 'permits' | 'forceCommand'> | undefined
}

/** A way to a target through a connection, which a connection of its own goes through. */
export interface Jump {
  /** The inner one: nobody has logged in on it yet. */
  readonly connection: ConnectionId
  readonly target: string
  /** For the first of the host keys, in the name of the target. */
  readonly certificate: Buffer | undefined
}

/** One channel beside those of a session: to a place, from one, or to an agent or a display. */
export interface ForwardWish {
  readonly kind: 'forward' | 'remote-forward' | 'agent' | 'x11'
  readonly host?: string
  readonly port?: number
  /** Of a socket on the target. */
  readonly path?: string
}

/** How a channel beside those of a session ended, as the side knows that carried it. */
export interface ForwardEnd {
  /** Towards the target, and from it. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** Listening is what the target does from then on: what comes of it is asked about by itself. */
  readonly ended: 'ended' | 'refused' | 'listening'
}

/** What is only known where strangers' bytes are parsed; the rest of a session's start is known here. */
export type StartFacts = Pick<SessionStart, 'kind' | 'command' | 'clientIdent'>

/**
 * What the side that parses strangers' bytes asks of the side that holds the secrets. Every call
 * names the connection that it is made for, and nothing but: who is on it, and what they may, is
 * remembered by the side that is asked.
 */
export interface Broker {
  /** Who a signed attempt proves to be; undefined for nobody. */
  login(connection: ConnectionId, attempt: AuthAttempt): Promise<Client | undefined>
  /**
   * The target that is meant by a destination, if it is one that they may jump to; undefined when it
   * is none of theirs.
   */
  openJump(connection: ConnectionId, destination: Destination): Promise<Jump | Denial | undefined>
  /** Lets in who opened the jump, under the user name that the inner connection gives. */
  enterJump(inner: ConnectionId, user: string): Promise<Client | Denial>
  /** Whether they may open what their user name said, now. */
  authorize(
    connection: ConnectionId,
    kind: ChannelKind,
    /** Where the user name said none, and they chose one. */
    target?: string,
  ): Promise<Authorization | Denial>
  /** The targets that they may choose from. */
  choices(connection: ConnectionId): Promise<readonly TargetChoice[]>
  startSession(
    connection: ConnectionId,
    authorization: string,
    facts: StartFacts,
  ): Promise<{ readonly session: SessionId }>
  leaseKey(connection: ConnectionId, authorization: string, session: SessionId): Promise<KeyLease>
  checkHostKey(connection: ConnectionId, authorization: string, blob: Buffer): Promise<boolean>
  /** Signs a login at the host that proved itself in the very key exchange that the data is about. */
  sign(
    connection: ConnectionId,
    lease: string,
    data: Buffer,
    algorithm: string,
    proof: HostProof,
  ): Promise<Buffer>
  upstreamOpened(connection: ConnectionId, authorization: string, session: SessionId): Promise<void>
  /** Whether one more channel may be opened in a session, which is on record when this resolves. */
  openForward(
    connection: ConnectionId,
    session: SessionId,
    wish: ForwardWish,
  ): Promise<{ readonly forward: string } | Denial>
  /** Puts what was done to files in a session on record. */
  recordFiles(
    connection: ConnectionId,
    session: SessionId,
    operations: readonly FileOperation[],
  ): Promise<void>
  closeForward(connection: ConnectionId, forward: string, end: ForwardEnd): Promise<void>
  endSession(
    connection: ConnectionId,
    session: SessionId,
    outcome: Omit<SessionOutcome, 'tenant'>,
  ): Promise<void>
}
