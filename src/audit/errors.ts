import { CodedError } from '../errors.ts'

/** An event that may not be written: a fault of the code that made it, never of a user. */
export class EventRefused extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_AUDIT_EVENT'

  constructor(type: string, reason: string) {
    super(`audit event ${type}: ${reason}`)
  }
}

/** Text that is not the note, checkpoint, key or leaf that it should be. */
export class NoteInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_AUDIT_NOTE'

  constructor(reason: string) {
    super(`not a signed note: ${reason}`)
  }
}

/**
 * The head of a tenant's log does not match its leaves, so no event can be appended. Other tenants'
 * logs are not affected.
 */
export class LogDamaged extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_AUDIT_DAMAGED'

  constructor(reason: string, cause?: unknown) {
    super(
      `the audit log of this tenant is damaged: ${reason}; run \`vaultterm audit repair TENANT\``,
      { cause },
    )
  }
}

/** How a log contradicts a head that was signed before. */
export type Contradiction =
  /** It has fewer leaves than were signed. */
  | 'rolled-back'
  /** Its leaves are not those that were signed. */
  | 'rewritten'
  /** Its stored head is not that of its leaves. */
  | 'head'
  /** Our key signed the last checkpoint, and the columns beside its note say something else. */
  | 'checkpoint'
  /** It has another name than the log that was signed, or another key signed that. */
  | 'replaced'
  /** Events that this process appended are gone, and so is the event that says so. */
  | 'lost'

/** The stored log does not continue its signed head. It is not signed any further. */
export class LogInconsistent extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_AUDIT_INCONSISTENT'
  readonly contradiction: Contradiction

  constructor(origin: string, contradiction: Contradiction, reason: string) {
    super(`audit log ${origin}: ${reason}; run \`vaultterm audit verify TENANT\``)
    this.contradiction = contradiction
  }
}

/** A log could not be signed for some time. Who cuts it meanwhile leaves no trace. */
export class LogUnsigned extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_AUDIT_UNSIGNED'

  constructor(seconds: number, cause: unknown) {
    const why = cause instanceof Error ? cause.message : 'unknown error'
    super(`an audit log could not be signed for ${seconds} s: ${why}; run \`vaultterm doctor\``, {
      cause,
    })
  }
}

/**
 * The database holds a checkpoint on the head of a log that our key did not sign. It says nothing about the
 * log, but somebody writes into the database with a login of ours.
 */
export class CheckpointForged extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_AUDIT_FORGED'
  readonly contradiction = 'forged-checkpoint'

  constructor(origin: string, size: number) {
    super(
      `audit log ${origin}: the checkpoint of ${size} leaves is not signed by our key; change the passwords of the database logins, then run \`vaultterm audit repair TENANT\``,
    )
  }
}

/** The signer did not give a signature that its own key verifies. */
export class SignerFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_AUDIT_SIGNER'

  constructor(reason: string, cause?: unknown) {
    super(`the checkpoint was not signed: ${reason}`, { cause })
  }
}

/**
 * The file of signed heads cannot be read. No log is signed until an operator has checked the file.
 */
export class SignedHeadsUnusable extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_AUDIT_SIGNED_HEADS'

  constructor(path: string, reason: string, cause?: unknown) {
    super(`the file of signed heads ${path} ${reason}`, { cause })
  }
}

/** A repair would hide a loss, or cannot be done. */
export class RepairRefused extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_AUDIT_REPAIR'

  constructor(reason: string) {
    super(`the log was not repaired: ${reason}`)
  }
}

/** A new epoch of the log began while a head of the former one was signed. */
export class HeadOutdated extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_AUDIT_HEAD_OUTDATED'

  constructor(origin: string) {
    super(`the log ${origin} was given up while its head was signed: the new one is signed next`)
  }
}
