/** What a caller can do about an error. Faces turn this, and nothing else, into a reply. */
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
 * The message is shown to people: it says what was wrong and what to do, and never holds a secret.
 */
export abstract class CodedError extends Error {
  abstract readonly kind: ErrorKind
  abstract readonly code: ErrorCode
  override readonly name = this.constructor.name
}
