import { CodedError } from '../errors.ts'

/** Somebody sealed the vault, here or on another node: no key is used until it is unsealed. */
export class VaultSealed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_VAULT_SEALED'

  constructor() {
    super('the vault is sealed: an operator must run `vaultterm vault unseal`')
  }
}

/** The vault was asked to sign what its lease does not cover. The reason holds nothing secret. */
export class VaultRefused extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_VAULT_REFUSED'
  readonly reason: string

  constructor(reason: string) {
    super(`the vault does not sign this: ${reason}`)
    this.reason = reason
  }
}

/** More leases are waiting for their signature than a healthy process ever has. */
export class LeasesExhausted extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_VAULT_BUSY'

  constructor() {
    super('too many upstream logins are in progress: try again')
  }
}

/** There is no such key pair: it was never made, or its tenant is another one. */
export class KeyMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_VAULT_KEY_MISSING'

  constructor(name: string) {
    super(`the vault has no ${name} key for this tenant`)
  }
}

/** A sealed value does not open where it stands: it was damaged, moved or put back from the past. */
export class SecretDamaged extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_VAULT_DAMAGED'

  constructor(what: string, cause?: unknown) {
    super(`${what} cannot be decrypted: it was changed or moved; restore it from a backup`, {
      cause,
    })
  }
}

/**
 * A public value in the database is not the one that VaultTerm wrote there. Nothing of it is used or
 * printed. `what` names the row for people; `remedy` is a clause that says how to get it back.
 */
export class RecordChanged extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_RECORD_CHANGED'

  constructor(what: string, remedy: string, cause?: unknown) {
    super(
      `${what} is not as VaultTerm wrote it: somebody changed it in the database. ` +
        `It is not used. Find out who can write to the database; then ${remedy}`,
      { cause },
    )
  }
}

/** The operator's key cannot be read, or could be read by others. */
export class KekUnreadable extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_KEK_UNREADABLE'

  constructor(reason: string, cause?: unknown) {
    super(`the key-encryption key cannot be used: ${reason}`, { cause })
  }
}

/** The operator's key is one, but not the one that this database was sealed with. */
export class KekWrong extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_KEK_WRONG'

  constructor(given: string, expected: string) {
    super(
      `VAULTTERM_KEK names the key ${given}, but this database was sealed with ${expected}: ` +
        'point it at the key file that was in use, or restore that file from its backup',
    )
  }
}
