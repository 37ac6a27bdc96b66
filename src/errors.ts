/** The kind of an error, for the caller's next step. Faces make replies only from this. */
export type ErrorKind =
  | 'invalid'
  | 'unauthenticated'
  | 'denied'
  | 'missing'
  | 'conflict'
  | 'precondition'
  | 'step-up'
  | 'limited'
  | 'sealed'
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

/** The code of an error: the system's, as ENOENT, a library's, or that of a CodedError. */
export function errorCode(err: unknown): string | undefined {
  return err instanceof Error && 'code' in err && typeof err.code === 'string'
    ? err.code
    : undefined
}

/** The result of a call on a path; undefined if there is no such file. Any other failure is thrown. */
export async function unlessMissing<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (err) {
    if (errorCode(err) === 'ENOENT') return undefined
    throw err
  }
}
