import { CodedError } from '../errors.ts'

/** A person downloads as many recordings as one may at a time. */
export class TooManyDownloads extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_TOO_MANY_DOWNLOADS'

  constructor(max: number) {
    super(`you are downloading ${max} recordings already: wait until one of them is complete`)
  }
}

/** A person opens recordings faster than the log should grow. */
export class TooManyReplays extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_TOO_MANY_REPLAYS'

  constructor() {
    super('you have opened too many recordings in a short time: try again in a minute')
  }
}

/** The session has ended already. */
export class SessionNotLive extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_SESSION_NOT_LIVE'

  constructor() {
    super('this session has ended already')
  }
}
