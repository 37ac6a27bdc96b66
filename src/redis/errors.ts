import { CodedError } from '../errors.ts'

/** Redis does not answer, or not as Redis. Sessions go on without it. */
export class RedisUnavailable extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_REDIS_UNAVAILABLE'

  constructor(cause?: unknown) {
    super('redis is unavailable: nodes do not see each other’s sessions', { cause })
  }
}

/** The URL of Redis cannot be read. The error has nothing of it: it holds a password. */
export class RedisUrlInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_REDIS_URL'

  constructor() {
    super('the URL of Redis cannot be read: percent-encode reserved characters of its password')
  }
}
