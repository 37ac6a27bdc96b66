import { CodedError } from '../errors.ts'

/** The vault is sealed, here or on another node: it uses no key until it is unsealed. */
export class VaultSealed extends CodedError {
  readonly kind = 'sealed'
  readonly code: 'ERR_VAULT_SEALED' | 'ERR_VAULT_SEAL_FORGED' = 'ERR_VAULT_SEALED'

  constructor(message = 'the vault is sealed: an operator must run `vaultterm vault unseal`') {
    super(message)
  }
}

/** The database says that the vault is open, and nobody with the operator's key opened it. It stays sealed. */
export class SealForged extends VaultSealed {
  override readonly code = 'ERR_VAULT_SEAL_FORGED'

  constructor() {
    super(
      'the vault is sealed: somebody took the seal off in the database, without its key. ' +
        'Change the passwords of the database logins, then run `vaultterm vault unseal`',
    )
  }
}

/** The vault refuses to sign: the lease or the rules do not cover the request. The reason holds no secret. */
export class VaultRefused extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_VAULT_REFUSED'
  readonly reason: string

  constructor(reason: string) {
    super(`the vault refused to sign: ${reason}`)
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

/** The tenant has no such key pair: it was never made, or belongs to another tenant. */
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

  constructor(name: string, cause?: unknown) {
    super(
      `${name} was damaged, moved or exchanged in the database and does not open: restore its row from a backup`,
      { cause },
    )
  }
}

/** Rows that do not open fill every version at a path where VaultTerm would make a key. */
export class VersionsTaken extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_VAULT_VERSIONS'

  constructor(path: string) {
    super(
      `no version is left for a key at ${path}: somebody filled them in the database. Find out who can ` +
        'write to it; then delete the rows of that path from the table vault_secret, as its owner',
    )
  }
}

/**
 * A public value in the database is not the one that VaultTerm wrote there. It is neither used nor
 * printed. `row` names the row for people; `remedy` is a clause that says how to get it back.
 */
export class RecordChanged extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_RECORD_CHANGED'

  constructor(row: string, remedy: string, cause?: unknown) {
    super(
      `${row} is not as VaultTerm wrote it: somebody changed it in the database. ` +
        `It is not used. Find out who can write to the database; then ${remedy}`,
      { cause },
    )
  }
}

/** The operator's key file cannot be read, or other users can read it. */
export class KekUnreadable extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_KEK_UNREADABLE'

  constructor(reason: string, cause?: unknown) {
    super(`the key-encryption key cannot be used: ${reason}`, { cause })
  }
}

/** The key file holds a valid key, but this database was sealed with another one. */
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
