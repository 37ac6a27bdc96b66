import { CodedError } from '../errors.ts'

/** The embedded Postgres could not be made, started or kept. The last lines it said are in the message. */
export class PostgresServerFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_LOCAL_POSTGRES'

  constructor(what: string, details: readonly string[] = [], cause?: unknown) {
    super(`the embedded Postgres ${[what, ...details].join('\n  ')}`, { cause })
  }
}
