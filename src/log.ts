import { type DestinationStream, type Logger, pino } from 'pino'

export type Log = Logger

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
      redact: {
        paths: redacted.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
        censor: '[secret]',
      },
    },
    destination,
  )
}
