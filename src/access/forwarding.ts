import { appendLastEvent } from '../audit/index.ts'
import type { Identity } from '../auth/index.ts'
import type { Database } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { Authorization } from './authorization.ts'
import type { ChannelKind } from './channel-kind.ts'
import type { AccessAttempt } from './denial.ts'
import type { ForwardDestination } from './forward-pattern.ts'

export type ForwardKind = Extract<ChannelKind, 'forward' | 'remote-forward' | 'agent' | 'x11'>

/** One channel beside the session's own. The asking side knows its destination. */
export interface Forward {
  readonly id: string
  readonly session: SessionId
  readonly kind: ForwardKind
  /** The destination, or the address at which the target listens. */
  readonly destination?: ForwardDestination
}

export interface ForwardOutcome {
  /** Bytes towards the target, and from it; absent if unknown, for example when the worker died. */
  readonly bytesIn?: number
  readonly bytesOut?: number
  /** In one word, or a code. */
  readonly ended: string
  /** The reason, if the forward did not end by itself. */
  readonly reason?: string
}

/** The session's part of an authorization that the log names. */
type SessionTarget = Pick<Authorization, 'tenant' | 'target' | 'login'>

/** The rights that a forward needs, when it is opened and while it is open. */
export function forwardAttempt({
  kind,
  destination,
}: Forward): Pick<AccessAttempt, 'kind' | 'destination'> {
  // The address at which a target listens is not a destination.
  return kind === 'forward' && destination !== undefined ? { kind, destination } : { kind }
}

/** The fields of a destination in the log. */
export function destinationFields(destination: ForwardDestination | undefined) {
  if (destination === undefined) return {}
  return 'path' in destination
    ? { path: destination.path }
    : { host: destination.host, port: String(destination.port) }
}

/** Puts a forward on record, before it is opened. */
export async function openForward(
  database: Database,
  { user }: Identity,
  { tenant, target, login }: SessionTarget,
  { id, session, kind, destination }: Forward,
): Promise<void> {
  await database.write(tenant, (tx) =>
    appendLastEvent(tx, {
      type: 'forward.open',
      public: { session, forward: id, user: user.id, target: target.id, kind },
      private: {
        userName: user.name,
        targetName: target.name,
        login,
        ...destinationFields(destination),
      },
    }),
  )
}

/** Puts the end of a forward on record. */
export async function closeForward(
  database: Database,
  { user }: Identity,
  { tenant, target }: SessionTarget,
  { id, session, kind }: Forward,
  { bytesIn, bytesOut, ended, reason }: ForwardOutcome,
): Promise<void> {
  await database.write(tenant, (tx) =>
    appendLastEvent(tx, {
      type: 'forward.close',
      public: {
        session,
        forward: id,
        user: user.id,
        target: target.id,
        kind,
        ended,
        bytesIn: bytesIn === undefined ? 'unknown' : String(bytesIn),
        bytesOut: bytesOut === undefined ? 'unknown' : String(bytesOut),
      },
      private: { reason },
    }),
  )
}
