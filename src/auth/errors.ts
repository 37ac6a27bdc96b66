import { CodedError } from '../errors.ts'

export class UserNameInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_USER_NAME'

  constructor(name: string) {
    super(
      `${JSON.stringify(name.slice(0, 64))} is not a valid user name: use 1 to 32 characters of a-z, 0-9 and -, without - at the start`,
    )
  }
}

export class EmailInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_USER_EMAIL'

  constructor(email: string) {
    super(`${JSON.stringify(email.slice(0, 64))} is not an e-mail address`)
  }
}

export class UserExists extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_USER_EXISTS'

  constructor(name: string) {
    super(`the user ${name} already exists`)
  }
}

export class UserMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_USER_MISSING'

  constructor(name: string) {
    super(`there is no user ${JSON.stringify(name.slice(0, 64))} in this tenant`)
  }
}

export class AdministratorMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_ADMIN_MISSING'

  constructor(name: string) {
    super(`there is no administrator ${JSON.stringify(name.slice(0, 64))}`)
  }
}

/** The key cannot be registered: the message says why. */
export class KeyRefused extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_KEY_REFUSED'
}

export class KeyExists extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_KEY_EXISTS'

  constructor(fingerprint: string) {
    super(`the key ${fingerprint} is already registered in this tenant`)
  }
}

export class UserKeyMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_KEY_MISSING'

  constructor(fingerprint: string) {
    super(`there is no key ${JSON.stringify(fingerprint.slice(0, 80))} in this tenant`)
  }
}
