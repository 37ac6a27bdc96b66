import { createHash } from 'node:crypto'

/** The printable command of a session, and the digest of its bytes. */
export interface CommandFields {
  /** With a replacement character for each byte that is no UTF-8. */
  readonly command: string
  /** Of the whole command. */
  readonly commandBytes: number
  /** In hex. Absent where the command is cut. */
  readonly commandSha256?: string
}

/** `bytes` is the length of the whole command, of which `command` may be the beginning. */
export function commandFields(command: Buffer, bytes: number): CommandFields {
  if (bytes > command.length) {
    // Without the part of a character at the cut.
    const text = new TextDecoder().decode(command, { stream: true })
    return { command: `${text}…`, commandBytes: bytes }
  }
  return {
    command: command.toString('utf8'),
    commandBytes: bytes,
    commandSha256: createHash('sha256').update(command).digest('hex'),
  }
}
