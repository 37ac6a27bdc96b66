/** The signed head of a log, as in C2SP tlog-checkpoint: three lines, and no extension lines. */

import { NoteInvalid } from './errors.ts'
import { decodeBase64 } from './note.ts'

export interface Checkpoint {
  readonly origin: string
  readonly size: number
  readonly root: Buffer
}

/** The text that is signed. */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`
}

export function parseCheckpoint(text: string): Checkpoint {
  const [, origin = '', size = '', encoded = ''] =
    /^([^\n]+)\n(0|[1-9][0-9]{0,15})\n([^\n]+)\n$/.exec(text) ?? []
  const root = decodeBase64(encoded)
  if (origin === '' || root?.length !== 32 || !Number.isSafeInteger(Number(size))) {
    throw new NoteInvalid('its text is not a checkpoint')
  }
  return { origin, size: Number(size), root }
}
