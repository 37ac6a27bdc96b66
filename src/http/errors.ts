import { CodedError } from '../errors.ts'

/** There is no such page, or this person may not know of it: both get the same answer. */
export class RouteMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_NOT_FOUND'

  constructor() {
    super('there is nothing here')
  }
}

/** The request carries no live web session. */
export class SignInRequired extends CodedError {
  readonly kind = 'unauthenticated'
  readonly code = 'ERR_SIGN_IN_REQUIRED'

  constructor() {
    super('sign in first')
  }
}

/** The client has left: nobody reads the answer. */
export class RequestAbandoned extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_REQUEST_ABANDONED'

  constructor() {
    super('the client left before its turn came')
  }
}

/** A page of another site, or a form of it, made the browser send this. */
export class CrossOriginRefused extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_CROSS_ORIGIN'

  constructor() {
    super('a request that changes something must come from our own pages')
  }
}

/** The request names a host that we are not. */
export class HostUnknown extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_HOST_UNKNOWN'

  constructor() {
    super('this server does not answer to that host name; set VAULTTERM_PUBLIC_URL if it should')
  }
}

/** A sign-in link that was used, is too old, or never was one. */
export class LinkSpent extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_LINK_SPENT'

  constructor() {
    super(
      'this sign-in link is not valid: it was used, is too old, or is not complete; ask for a new one',
    )
  }
}

/** A part of a request has the wrong form. The message names the field, never its value. */
export class FieldInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_REQUEST_INVALID'

  constructor(field: string, problem: string) {
    super(`${field} ${problem}`)
  }
}

/** The role of the person has this right to nothing. */
export class RightMissing extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_RIGHT_MISSING'

  constructor() {
    super('your role does not allow this; ask an owner of your tenant')
  }
}

/** The API reads JSON. */
export class BodyNotJson extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_REQUEST_TYPE'

  constructor() {
    super('the body must be JSON, with the content type application/json')
  }
}

/** A person has as many requests open as one may. */
export class TooManyRequests extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_TOO_MANY_REQUESTS'

  constructor(max: number) {
    super(`${max} of your requests are open already: read their answers first`)
  }
}

/** The address exists, and this method does not exist there. */
export class MethodNotAllowed extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_METHOD_NOT_ALLOWED'
  readonly allowed: readonly string[]

  constructor(allowed: readonly string[]) {
    super(`this address takes ${allowed.join(', ')}`)
    this.allowed = allowed
  }
}

/** The act needs a fresh proof of who asks, made for this purpose. */
export class StepUpRequired extends CodedError {
  readonly kind = 'step-up'
  readonly code = 'ERR_STEP_UP_REQUIRED'
  readonly purpose: string

  constructor(purpose: string) {
    super(`confirm that it is you first: this needs a fresh proof for ${purpose}`)
    this.purpose = purpose
  }
}

/** The person, or the address that they ask from, did this as often as one may. */
export class TooOften extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_TOO_OFTEN'
  readonly retryAfterSeconds: number

  constructor(retryAfterSeconds: number) {
    super(`this was asked for too often: wait ${retryAfterSeconds} s`)
    this.retryAfterSeconds = retryAfterSeconds
  }
}
