import { createHash } from 'node:crypto'

/** The printable command of a session, and the digest of its bytes. */
export interface CommandFields {
  /** With a replacement character for each byte that is no UTF-8. */
  readonly command: string
  readonly commandBytes: number
  /** In hex. */
  readonly commandSha256: string
}

export function commandFields(command: Buffer): CommandFields {
  return {
    command: command.toString('utf8'),
    commandBytes: command.length,
    commandSha256: createHash('sha256').update(command).digest('hex'),
  }
}
