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

/** The person has no such web session. */
export class WebSessionMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_WEB_SESSION_MISSING'

  constructor() {
    super('you have no such web session: it may have ended already')
  }
}

/** The person has no such passkey. */
export class PasskeyMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_PASSKEY_MISSING'

  constructor() {
    super('you have no such passkey')
  }
}

/** One answer for every passkey that proves nothing: a stranger learns nothing from it. */
export class PasskeyRefused extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_PASSKEY_REFUSED'

  constructor(cause?: unknown) {
    super('this passkey was not accepted: try again, or use another way to sign in', { cause })
  }
}

export class PasskeyExists extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_PASSKEY_EXISTS'

  constructor() {
    super('this passkey is registered already')
  }
}

/** A person has as many as one may. */
export class PasskeysMany extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_PASSKEYS_MANY'

  constructor(max: number) {
    super(`you have ${max} passkeys, and more are not possible: remove one first`)
  }
}

/** Browsers bind passkeys to the name of a site, and this address is none, or another one. */
export class PasskeyAddress extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_PASSKEY_ADDRESS'

  constructor(address: string) {
    super(`passkeys work at one address only: open ${address}`)
  }
}

/** Without it the person could not sign in by themselves any more. */
export class LastWayIn extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_LAST_WAY_IN'

  constructor() {
    super(
      'this is your last way to sign in by yourself. Add another one first, or say `lastWayIn: true`: ' +
        'after that only a link from an operator lets you in',
    )
  }
}

/** The act needs a fresh proof, and the person has nothing to make one with. */
export class FactorMissing extends CodedError {
  readonly kind = 'step-up'
  readonly code = 'ERR_FACTOR_MISSING'

  constructor() {
    super('this needs a passkey to confirm that it is you: add one first')
  }
}

/** A first passkey is added right after the sign-in: whoever finds an open browser adds none. */
export class SignInStale extends CodedError {
  readonly kind = 'step-up'
  readonly code = 'ERR_SIGN_IN_STALE'

  constructor(minutes: number) {
    super(`you signed in more than ${minutes} minutes ago: sign in again to add your first passkey`)
  }
}

/** The person has no such login key. */
export class OwnKeyMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_KEY_MISSING'

  constructor() {
    super('you have no such key')
  }
}

/** A person has as many login keys as one may. */
export class KeysMany extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_KEYS_MANY'

  constructor(max: number) {
    super(`you have ${max} keys, and more are not possible: remove one first`)
  }
}

/** The tenant has no such user. */
export class MemberMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_MEMBER_MISSING'

  constructor() {
    super('there is no such member')
  }
}

/** The role is above the asker's, who may neither give nor remove it. */
export class RoleAbove extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_ROLE_ABOVE'

  constructor() {
    super('only an owner can do this')
  }
}

/** Somebody has come in as this user, so a link would let another person act as them. */
export class MemberActive extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_MEMBER_ACTIVE'

  constructor(name: string) {
    super(
      `${name} has been here before: only an operator can make a link for them, by vaultterm web-login`,
    )
  }
}

/** A fresh proof that was there when the request came is gone. */
export class ProofGone extends CodedError {
  readonly kind = 'step-up'
  readonly code = 'ERR_STEP_UP_REQUIRED'

  constructor() {
    super('your confirmation is over: confirm again')
  }
}

/** The user has this role already. */
export class RoleSame extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_ROLE_SAME'

  constructor(name: string, role: string) {
    super(`${name} has the role ${role} already`)
  }
}

/** A tenant without an owner has nobody who gives that role. */
export class LastOwner extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_LAST_OWNER'

  constructor() {
    super('this is the last owner of the tenant: add another one first')
  }
}
