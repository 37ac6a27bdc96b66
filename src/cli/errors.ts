import { CommanderError } from 'commander'
import { CodedError, type ErrorCode, errorCode } from '../errors.ts'
import { printable } from './printable.ts'

/** The command line is wrong. */
export class WrongUsage extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_USAGE'
}

/** A tenant, user, key, target, grant or session does not exist. */
export class NotFound extends CodedError {
  readonly kind = 'missing'
  readonly code: ErrorCode

  constructor(noun: 'tenant' | 'user' | 'key' | 'target' | 'grant' | 'session', message: string) {
    super(message)
    this.code = `ERR_${noun.toUpperCase()}_MISSING`
  }
}

/** `target add` for a target that is there. */
export class NameTaken extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_TARGET_EXISTS'

  constructor(slug: string, name: string, cause: unknown) {
    super(
      `there is a target ${name} already: change it with \`vaultterm target update ${slug} ${name}\`, or choose another name`,
      { cause },
    )
  }
}

/** `key add` with a file that holds no public key, or one that is refused. */
export class KeyFileRefused extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_KEY_REFUSED'

  constructor(file: string, problem: string) {
    super(`${file === '-' ? 'stdin' : file} is not a public key that can be added: ${problem}`)
  }
}

/** A file of the command line cannot be used. */
export class FileUnusable extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_FILE'
}

/** The reason that the operating system gives for a failed access to a file. */
export function reason(err: unknown): string {
  const code = errorCode(err) ?? 'unknown error'
  const words: { readonly [code: string]: string } = {
    ENOENT: 'the file does not exist',
    EACCES: 'this user is not allowed to read or write it',
    EISDIR: 'it is a directory',
    EEXIST: 'it already exists',
    ENOSPC: 'the disk is full',
  }
  return words[code] ?? code
}

/** What was typed, in quotes. */
export function shown(text: string): string {
  return JSON.stringify(text.slice(0, 64))
}

/** A check failed; its findings have been printed. */
export class CheckFailed extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_CHECK_FAILED'
}

/** The bastion cannot log in to a target; the code says why. */
export class TargetCheckFailed extends CodedError {
  readonly kind = 'conflict'
  readonly code: ErrorCode

  constructor(code: ErrorCode | null, message: string) {
    super(message)
    this.code = code ?? 'ERR_CHECK_FAILED'
  }
}

/** The one line that a failed command prints, and its exit status. */
export interface Failure {
  readonly line: string
  readonly status: 1 | 2
}

/** A command line, as far as it was understood. */
export interface Typed {
  readonly command: string
  readonly argv: readonly string[]
}

/** Formats an error as every command prints it. An error without a code is a bug or an outage. */
export function failureOf(err: unknown, { command, argv }: Typed): Failure {
  const told = (message: string, code: ErrorCode) => say(cut(message, argv), code)
  if (err instanceof CommanderError) {
    return { line: told(`${usageText(err)}; see ${command} --help`, 'ERR_USAGE'), status: 2 }
  }
  if (err instanceof WrongUsage) return { line: told(err.message, err.code), status: 2 }
  if (err instanceof CodedError) return { line: told(err.message, err.code), status: 1 }
  if (errorCode(err) === 'ENOSPC') {
    const text = 'the disk is full: make room on the disk of VAULTTERM_HOME and of the recordings'
    return { line: told(text, 'ERR_DISK_FULL'), status: 1 }
  }
  return {
    line: say('internal error; VAULTTERM_LOG=debug shows the details', 'ERR_INTERNAL'),
    status: 1,
  }
}

/** Longer arguments are echoed by their beginning. */
const echoMax = 256

/** Cuts what a message echoes of the command line: an argument, or a long word, as a part of one is. */
function cut(message: string, argv: readonly string[]): string {
  const short = (text: string) => `${text.slice(0, echoMax)}…`
  return argv
    .filter(({ length }) => length > echoMax)
    .reduce((text, argument) => text.replaceAll(argument, () => short(argument)), message)
    .replace(/\S+/g, (word) => (word.length > 2 * echoMax ? short(word) : word))
}

/** Joins a message and the list below it into one line. */
function say(message: string, code: ErrorCode): string {
  const line = message
    .trim()
    .replace(/:\s*\n\s*/g, ': ')
    .replace(/\s*\n\s*/g, '; ')
  return `vaultterm: ${printable(line)} (${code})`
}

/** Joins `error: unknown command 'tenat'` and the line `(Did you mean tenant?)` below it. */
function usageText({ message }: CommanderError): string {
  return message
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean (one of )?(.*?)\?\)/s, (_, several, names) =>
      several === undefined ? ` (did you mean ${names}?)` : ` (did you mean one of ${names}?)`,
    )
    .replace(/\.$/, '')
}
