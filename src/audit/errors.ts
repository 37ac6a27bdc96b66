import { CodedError } from '../errors.ts'

/** An event that may not be written as it is: a fault of the code that made it, never of a user. */
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

/** The stored log is not a continuation of what was signed before. Nothing more of it is signed. */
export class LogInconsistent extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_AUDIT_INCONSISTENT'

  constructor(origin: string, reason: string) {
    super(`audit log ${origin}: ${reason}; run \`vaultterm audit verify\``)
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
