/** The kind of an error, for the caller's next step. Faces make replies only from this. */
export type ErrorKind =
  | 'invalid'
  | 'unauthenticated'
  | 'denied'
  | 'missing'
  | 'conflict'
  | 'limited'
  | 'unavailable'

export type ErrorCode = `ERR_${string}`

/**
 * An error with a public, stable code. Anything else that is thrown is a bug or an outage.
 *
 * The message is shown to people: it describes the problem and the remedy, and never has a secret.
 */
export abstract class CodedError extends Error {
  abstract readonly kind: ErrorKind
  abstract readonly code: ErrorCode
  override readonly name = this.constructor.name
}
