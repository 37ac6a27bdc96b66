import { CodedError } from '../../errors.ts'

/** Somebody with the right to do so ended the session. */
export class SessionKilled extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_SESSION_KILLED'

  constructor(reason: string) {
    super(reason)
  }
}

/** A connection has as many forwards as any may. */
export class TooManyForwards extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_FORWARD_LIMIT'

  constructor() {
    super('this connection has as many forwards as one may; close some, or connect once more')
  }
}

/** What was to be asked has in it what no honest client or target sends: it is not asked. */
export class CallRefused extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_TOO_LARGE'

  constructor() {
    super('a name, a key or a number in it is larger than any that is meant')
  }
}
