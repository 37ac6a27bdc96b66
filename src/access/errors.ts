import { CodedError } from '../errors.ts'

/**
 * An authorization that access did not make, that was changed, used before, or is too old.
 *
 * It never says which of these it was: the holder of a good one does not need to know.
 */
export class AuthorizationInvalid extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_AUTHORIZATION'

  constructor() {
    super('this authorization is no longer valid: connect again')
  }
}

/** Access was taken away between the decision and the start of the session. */
export class AccessRevoked extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_ACCESS_REVOKED'

  constructor() {
    super('your access ended while the session was being opened; ask an administrator')
  }
}

/** Too many authorizations wait for their session. */
export class AuthorizationsExhausted extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_ACCESS_BUSY'

  constructor() {
    super('too many sessions are being opened; try again')
  }
}

/** A target cannot be registered with these values; the message says why. */
export class TargetInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_TARGET_INVALID'
}

export class TargetExists extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_TARGET_EXISTS'

  constructor(name: string) {
    super(
      `there is a target ${name} already: change it with \`vaultterm target update TENANT ${name}\`, or choose another name`,
    )
  }
}

export class TargetMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_TARGET_MISSING'

  constructor(name: string) {
    super(`there is no target ${JSON.stringify(name.slice(0, 64))} in this tenant`)
  }
}

/** A grant that cannot be added as given; the message says why. */
export class GrantInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_GRANT_INVALID'
}

export class GrantMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_GRANT_MISSING'

  constructor(id: string) {
    super(`there is no grant ${JSON.stringify(id.slice(0, 64))} in this tenant`)
  }
}

/** The tenant has as many targets or grants as one may have. */
export class AccessLimit extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_ACCESS_LIMIT'

  constructor(what: string, max: number) {
    super(`a tenant can have at most ${max} ${what}: remove some that are no longer used`)
  }
}

/** This process could not renew its lease in time, so another one may end what it starts. */
export class NodeLeaseLapsed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_NODE_LEASE_LAPSED'

  constructor() {
    super('this bastion has lost its database for too long; connect again in a moment')
  }
}
