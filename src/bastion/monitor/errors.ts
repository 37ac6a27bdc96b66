import { CodedError } from '../../errors.ts'

/** A worker ended before it could serve. Its own messages are on stderr. */
export class WorkerFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_WORKER_START'

  constructor(how: string) {
    super(`a worker process ended before it could serve (${how}); its own messages are above`)
  }
}

/**
 * A request for something that is not the worker's. No honest worker makes it, whatever its clients, its
 * targets, the clocks and the operators do: throw this only where that is proved, because a worker that
 * makes some of them is killed.
 */
export class RequestForged extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_WORKER_REQUEST'

  constructor(
    what: string,
    message: string = `the worker asked for something that is not its own: ${what}`,
  ) {
    super(message)
  }
}

/**
 * A request for something that does not exist, or no longer exists. It is refused like a forged
 * one, but it proves no attack: an honest worker's request may cross with the end of its subject.
 * An unknown name proves no attack either, because names are random and cannot be guessed.
 */
export class RequestCrossed extends RequestForged {
  constructor(what: string) {
    super(what, `${what} that this request needs has ended; try again`)
  }
}

/** The target's host key is not on record any longer, though it was when the target was dialled. */
export class HostKeyReplaced extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_TARGET_HOST_KEY'

  constructor() {
    super('the host key on record for the target changed while it was dialled; try again')
  }
}

/** The answer to a worker's call is larger than a message may be. */
export class AnswerTooLarge extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_TOO_LARGE'

  constructor() {
    super('the answer is too large; name the target')
  }
}

/** There is no such connection, or it has ended. */
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
    super('this connection has opened too much in a short time; open another connection')
  }
}

/** The user has the largest number of sessions. */
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
    super(`a connection can carry ${jumpsMax} jumps at a time; end one, or open another connection`)
  }
}
