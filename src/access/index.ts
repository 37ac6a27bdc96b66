/**
 * Access: which user may open which target, now, and who opened it.
 *
 * authorize() decides from the current state of the database, and is the only maker of an
 * Authorization. A session starts with one, once, and is on record before its target is touched.
 * When access is taken away, the sessions that need it end, and single forwards in other sessions.
 */

export { type Access, type AccessDeps, createAccess } from './access.ts'
export type { Authorization } from './authorization.ts'
export type { JumpOuter } from './authorizer.ts'
export {
  type Act,
  acts,
  can,
  type Member,
  type Reach,
  reachOf,
  rightsOf,
  type Thing,
} from './can.ts'
export { type ChannelKind, channelKinds, isChannelKind, kindsByDefault } from './channel-kind.ts'
export type { Choice, ChoicePage, ChoiceQuery } from './choices.ts'
export type { JumpAddress } from './decision.ts'
export type { AccessAttempt, Denial } from './denial.ts'
export {
  AccessLimit,
  AccessRevoked,
  AuthorizationInvalid,
  AuthorizationsExhausted,
  GrantInvalid,
  GrantMissing,
  TargetExists,
  TargetInvalid,
  TargetMissing,
} from './errors.ts'
export type { FileOperation } from './files.ts'
export {
  type ForwardAddress,
  type ForwardDestination,
  isForwardPattern,
  matchesForward,
} from './forward-pattern.ts'
export type { ForwardProblem } from './forward-problem.ts'
export { type Forward, type ForwardOutcome, forwardAttempt } from './forwarding.ts'
export type { Grant, NewGrant } from './grant.ts'
export { hostNames, isHostKeyOf } from './host-key.ts'
export type { GrantId, TargetId } from './ids.ts'
export type { KillListener, KillResult } from './kill.ts'
export type { MendRecording } from './mends.ts'
export type { SessionOutcome } from './session.ts'
export type { SessionVia } from './session-row.ts'
export type { SessionStart } from './session-start.ts'
export type { Session, SessionList } from './session-views.ts'
export type { NewTarget } from './target.ts'
export { type HostKey, isLogin, type Target } from './target-fields.ts'
export { tagOldTargets } from './target-record.ts'
export type { TargetChange, TargetUpdate } from './target-update.ts'
