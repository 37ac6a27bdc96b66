import type { Log } from '../../../log.ts'
import type { SessionId } from '../../../recorder/index.ts'
import type { Channel } from '../../../ssh/index.ts'
import type { Authorization, ChannelKind, ConnectionId, Denial } from '../../wire/calls.ts'
import type { ServiceDeps } from '../deps.ts'
import type { Loan } from '../forward/lendings.ts'
import type { UpstreamNeed } from '../upstream.ts'
import type { Choice } from './menu.ts'

/** What the connection around a session knows and lends. */
export interface SessionContext {
  readonly deps: ServiceDeps
  readonly connection: ConnectionId
  readonly log: Log
  readonly clientIdent: string
  /** For the title of what is chosen from. */
  readonly tenant: string
  /** What the certificate that the client came with allows; all without one. */
  readonly mayHavePty: boolean
  readonly forceCommand: string | undefined
  authorize(kind: ChannelKind, target?: string): Promise<Authorization | Denial>
  /** Decides whether the client may lend its agent or display to the target. Undefined: yes. */
  permitLoan(kind: Loan['kind']): Promise<Denial | undefined>
  /** The targets that may be chosen from. */
  choices(): Promise<readonly Choice[]>
  /** The connection to the target: dialled once, then shared by this client's sessions there. */
  openTarget(need: UpstreamNeed): Promise<Channel>
  /**
   * Lets the target of a session open channels to the client's agent or display, until it is called
   * off. What it says to that is known.
   */
  lend(need: UpstreamNeed, loan: Loan, isTaken: boolean): Promise<() => void>
  /** A short name of this refusal or session start, for the person and the log. */
  requestId(): string
  /** Few starts of one connection are underway at a time: the others wait. */
  takeTurn(): Promise<Disposable>
  /** Why a session must end, where word of it came before its channel knew which session it is. */
  killed(session: SessionId): string | undefined
}
