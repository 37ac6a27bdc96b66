import { CodedError, type ErrorCode } from '../errors.ts'

/** The target could not be reached: nothing answered at its address. */
export class TargetUnreachable extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_TARGET_UNREACHABLE'
}

/** The target answered with another host key than the one on record. */
export class TargetHostKeyChanged extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_TARGET_HOST_KEY'
}

/** The target did not accept the key that the vault holds for it. */
export class TargetRefusedKey extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_TARGET_REFUSED_KEY'
}

/** The target accepted the login and then would not do what was asked. */
export class TargetRefused extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_TARGET_REFUSED'
}

/** The target took too long, or broke the protocol. */
export class TargetFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_TARGET_FAILED'
}

/** The session's recording could no longer be written, so the session ended. */
export class RecorderFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_RECORDER_FAILED'

  constructor(cause: unknown) {
    super(
      'this session ended because its recording could not be written; ask the operator to look at the disk of the recordings',
      { cause },
    )
  }
}

/** Somebody with the right to do so ended the session. */
export class SessionKilled extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_SESSION_KILLED'

  constructor(reason: string) {
    super(reason)
  }
}

/** The bastion is stopping and its time for live sessions is up. */
export class Draining extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_DRAINING'

  constructor() {
    super('the bastion is restarting; connect again in a moment')
  }
}

/** A request that this kind of channel does not carry. */
export class NotCarried extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_NOT_CARRIED'
}

/** A worker ended before it could serve anybody: what it said is on stderr. */
export class WorkerFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_WORKER_START'

  constructor(how: string) {
    super(`a worker process ended before it could serve (${how}); what it said is above`)
  }
}

/** The main process said no: what it said is for the person. */
export class Refused extends CodedError {
  readonly kind = 'denied'
  readonly code: ErrorCode

  constructor({ code, message }: { readonly code: ErrorCode; readonly message: string }) {
    super(message)
    this.code = code
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

/** A forward was ended while it was being opened. */
export class ForwardEnded extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_FORWARD_ENDED'

  constructor() {
    super('what this forward stood on ended while it was being opened')
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

/** What went through an SFTP session cannot be watched, so the session ended. */
export class SftpUnreadable extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_SFTP_UNREADABLE'

  constructor(what: string) {
    super(
      `this session ended because what went through it is no SFTP that can be put on record (${what})`,
    )
  }
}

/** What was done to files could not be put on record, so the session ended. */
export class FilesUnlogged extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_AUDIT_FAILED'

  constructor(cause: unknown) {
    super(
      'this session ended because what it did to files could not be put on the log; try again later',
      { cause },
    )
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
