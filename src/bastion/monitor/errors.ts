import { CodedError } from '../../errors.ts'

/** A worker ended before it could serve anybody: what it said is on stderr. */
export class WorkerFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_WORKER_START'

  constructor(how: string) {
    super(`a worker process ended before it could serve (${how}); what it said is above`)
  }
}

/** A request that no honest worker makes. */
export class RequestForged extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_WORKER_REQUEST'

  constructor(what: string) {
    super(`the worker asked for what is not its own: ${what}`)
  }
}

/** Of an honest worker too: what it asked for crossed with the end of what it is about. */
export class RequestCrossed extends RequestForged {}

/** There is no such connection, or none any more. */
export class ConnectionUnknown extends RequestCrossed {
  constructor() {
    super('a connection')
  }
}

/** A connection has tried to log in as often as any may. */
export class LoginsExhausted extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_LOGIN_LIMIT'

  constructor() {
    super('this connection has tried to log in too often')
  }
}

/** A connection has opened as much as any may. */
export class AuthorizationsExhausted extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_SESSION_LIMIT'

  constructor() {
    super('this connection has opened too much in a short time; connect once more')
  }
}

/** The user has as many sessions as anybody may. */
export class SessionsExhausted extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_SESSION_LIMIT'

  constructor() {
    super('you have too many sessions open')
  }
}

/** A connection has as many jumps as any may. */
export class JumpsExhausted extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_JUMP_LIMIT'

  constructor(jumpsMax: number) {
    super(`a connection carries ${jumpsMax} jumps at a time; end one, or connect once more`)
  }
}
