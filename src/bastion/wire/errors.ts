import { CodedError } from '../../errors.ts'

/** An operator, or the loss of a right, ended the session. */
export class SessionKilled extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_SESSION_KILLED'

  constructor(reason: string) {
    super(reason)
  }
}

/** A connection, or a user on all connections, has as many forwards as any may. */
export class TooManyForwards extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_FORWARD_LIMIT'

  constructor(who: 'this connection has' | 'you have' = 'this connection has') {
    const other = who === 'you have' ? '' : ', or open another connection'
    super(`${who} the largest number of forwards; close some${other}`)
  }
}

/** The open files and running operations of some SFTP sessions have reached the limit of memory. */
export class FilesExhausted extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_FILE_LIMIT'

  /** `sessions` names the sessions that have too many. */
  constructor(sessions: string) {
    super(
      `this session ended because ${sessions} have too many open files and running operations; connect again, and open fewer files at a time`,
    )
  }
}

/** The call has data that no honest client or target sends, so it is not made. */
export class CallRefused extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_TOO_LARGE'

  constructor() {
    super('a name, key or number in the request is too large')
  }
}
