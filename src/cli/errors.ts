import { CommanderError } from 'commander'
import { CodedError, type ErrorCode } from '../errors.ts'
import { printable } from './printable.ts'

/** The command line is not one that there is. */
export class WrongUsage extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_USAGE'
}

/** There is no such tenant, user, key, target, grant or session. */
export class NotFound extends CodedError {
  readonly kind = 'missing'
  readonly code: ErrorCode

  constructor(noun: 'tenant' | 'user' | 'key' | 'target' | 'grant' | 'session', message: string) {
    super(message)
    this.code = `ERR_${noun.toUpperCase()}_MISSING`
  }
}

/** A file that was named cannot be used. */
export class FileUnusable extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_FILE'
}

/** What was checked is not as it should be; the findings have been printed. */
export class CheckFailed extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_CHECK_FAILED'
}

/** What a failed command says, on one line, and the status it exits with. */
export interface Failure {
  readonly line: string
  readonly status: 1 | 2
}

/** Puts an error the way every command tells one. What has no code is a bug or an outage. */
export function failureOf(err: unknown): Failure {
  if (err instanceof CommanderError) return { line: say(usageText(err), 'ERR_USAGE'), status: 2 }
  if (err instanceof WrongUsage) return { line: say(err.message, err.code), status: 2 }
  if (err instanceof CodedError) return { line: say(err.message, err.code), status: 1 }
  return {
    line: say('internal error; VAULTTERM_LOG=debug shows what happened', 'ERR_INTERNAL'),
    status: 1,
  }
}

/** A list below a message becomes a part of its line. */
function say(message: string, code: ErrorCode): string {
  const line = message
    .trim()
    .replace(/:\s*\n\s*/g, ': ')
    .replace(/\s*\n\s*/g, '; ')
  return `vaultterm: ${printable(line)} (${code})`
}

/** `error: unknown command 'tenat'` and `(Did you mean tenant?)` below it, as a part of a sentence. */
function usageText({ message }: CommanderError): string {
  return message
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean (one of )?(.*?)\?\)/s, (_, several, names) =>
      several === undefined ? ` (did you mean ${names}?)` : ` (did you mean one of ${names}?)`,
    )
    .replace(/\.$/, '')
}
