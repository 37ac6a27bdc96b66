/**
 * The audit log: one append-only, tamper-evident log per tenant.
 *
 * An event commits together with the act it records. Leaves are never changed or deleted. A signed
 * checkpoint commits to every leaf before it, and is given only to a log that continues its signed
 * head. Names and typed text are kept beside the leaf, which commits to them.
 */

export { type Audit, createAudit } from './audit.ts'
export type { Canonical } from './canonical.ts'
export { type Checkpoint, formatCheckpoint, parseCheckpoint } from './checkpoint.ts'
export {
  CheckpointForged,
  EventRefused,
  LogDamaged,
  LogInconsistent,
  NoteInvalid,
  RepairRefused,
  SignedHeadsUnusable,
  SignerFailed,
} from './errors.ts'
export type { AuditEvent, AuditEventType, ShownText } from './event-types.ts'
export { type KeptCheckpoint, parseKeptCheckpoints } from './kept-checkpoint.ts'
export {
  actAndAppendBy,
  actAndAppendLast,
  appendEvent,
  appendLastEvent,
  lockLog,
  type Receipt,
} from './log.ts'
export { LogPace, type LogPaceLimits } from './log-pace.ts'
export {
  formatNote,
  formatVerifierKey,
  type Note,
  type NoteSignature,
  parseNote,
  parseVerifierKey,
  type VerifierKey,
  verifierKey,
  verifyNote,
} from './note.ts'
export type { ProvenLeaf, ProvenLeaves } from './proven-leaves.ts'
export { type Act, hasLeafWith } from './queries.ts'
export type { RepairKind, RepairOrder, RepairPlan } from './repair.ts'
export type { CheckpointSigner } from './signer.ts'
export type { AuditEntry } from './tail.ts'
export type { Fault, FaultKind, VerifyReport } from './verify.ts'
