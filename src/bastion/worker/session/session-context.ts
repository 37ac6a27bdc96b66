import type { Log } from '../../../log.ts'
import type { SessionId } from '../../../recorder/index.ts'
import type { Connection } from '../../../ssh/index.ts'
import type {
  Authorization,
  ChannelKind,
  ChoicePage,
  ChoiceQuery,
  ConnectionId,
  Denial,
} from '../../wire/calls.ts'
import type { ServiceDeps } from '../deps.ts'
import type { Loan } from '../forward/lendings.ts'
import type { UpstreamNeed } from '../upstream.ts'
import type { TargetSession } from '../upstreams.ts'

/** The parts of the connection that a session may use. */
export interface SessionContext {
  readonly deps: ServiceDeps
  readonly connection: ConnectionId
  readonly log: Log
  readonly clientIdent: string
  /** Shown in the title of the menu. */
  readonly tenant: string
  /** Whether the client's certificate allows a terminal; true without a certificate. */
  readonly mayHavePty: boolean
  readonly forceCommand: string | undefined
  authorize(kind: ChannelKind, target?: string): Promise<Authorization | Denial>
  /** Decides whether the client may lend its agent or display to the target. Undefined: yes. */
  permitLoan(kind: Loan['kind']): Promise<Denial | undefined>
  /** One page of the targets that the user may choose from. */
  choices(query: ChoiceQuery): Promise<ChoicePage>
  /** The connection to the target: dialled once, then shared by this client's sessions there. */
  openTarget(need: UpstreamNeed): Promise<TargetSession>
  /**
   * Lets the target of a session open channels to the client's agent or display, until the function that
   * it returns is called. `isTaken` is the target's answer to the offer.
   */
  lend(upstream: Connection, loan: Loan, isTaken: boolean): () => void
  /** Ends the connection unless other channels or listeners than this session's are open on it. */
  endIfAlone(ownChannels: 0 | 1): void
  /** Resolves when the forwards that the client has asked for so far are answered: a command may use them. */
  forwardsRequested(): Promise<void>
  /** A short name of this refusal or session start, for the person and the log. */
  requestId(): string
  /** Few starts of one connection are underway at a time: the others wait. */
  takeTurn(): Promise<Disposable>
  /** Why a session must end, where word of it came before its channel knew which session it is. */
  killed(session: SessionId): string | undefined
}
