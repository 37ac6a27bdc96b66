import { CodedError } from '../errors.ts'

/** Redis does not answer, or not as Redis. Sessions go on without it. */
export class RedisUnavailable extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_REDIS_UNAVAILABLE'

  constructor(cause?: unknown) {
    super('redis is unavailable: nodes do not see each other’s sessions', { cause })
  }
}
