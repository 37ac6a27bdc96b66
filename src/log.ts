import { type DestinationStream, type Logger, pino } from 'pino'

export type Log = Logger

/**
 * Characters that JSON allows unescaped and that a terminal or an editor obeys: controls of eight
 * bits, line ends that are not ASCII, and characters that turn the direction of text. In JSON they
 * occur only inside texts.
 */
const obeyed = /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/** Names that no log line may carry a value for, wherever they stand. `Secret` guards the rest by type. */
const redacted = [
  'password',
  'privateKey',
  'private_key',
  'secret',
  'token',
  'cookie',
  'authorization',
  'databaseUrl',
]

/**
 * The root logger: one JSON object a line, on stderr, so that stdout stays the program's answer.
 *
 * Terminal bytes, commands and keys are never fields. Text from outside is a field, never a message.
 */
export function createLog(
  level: string,
  destination: DestinationStream = pino.destination({ fd: 2, sync: false }),
): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      hooks: { streamWrite: (line) => line.replace(obeyed, escaped) },
      redact: {
        paths: redacted.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
        censor: '[secret]',
      },
    },
    destination,
  )
}

/**
 * Lets work go on without a waiter. When it fails, the log says what was lost. Without this, its
 * rejection would end the process.
 */
export function background(work: Promise<unknown>, log: Log, lost: string): void {
  work.catch((err: unknown) => log.error({ err, lost }, 'work in the background failed'))
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
