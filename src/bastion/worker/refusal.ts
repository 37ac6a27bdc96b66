import { CodedError, type ErrorCode } from '../../errors.ts'

/** The message to a user about a failure: one line, with the remedy. */
export interface Refusal {
  readonly code: ErrorCode
  readonly message: string
}

/** Only messages for users go out. An error without a code is a bug, and its text stays here. */
export function refusalOf(error: unknown): Refusal {
  return error instanceof CodedError
    ? { code: error.code, message: error.message }
    : {
        code: 'ERR_INTERNAL',
        message: 'something went wrong in the bastion; tell its operator the id in this line',
      }
}

/** The line itself. Anything that a terminal would obey is shown, not sent. */
export function refusalLine({ code, message }: Refusal, request: string): string {
  return `vaultterm: ${printable(message)} (${code}, ${request})`
}

/** One line of text with every control character made visible. */
export function printable(text: string): string {
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
