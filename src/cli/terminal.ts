import type { Readable, Writable } from 'node:stream'
import { CodedError, errorCode } from '../errors.ts'
import { reason } from './errors.ts'

/** A stream that may be a terminal. */
export type Stream = Writable & { readonly isTTY?: boolean | undefined }

/** The streams and the environment of a command. */
export interface Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean | undefined }
  readonly stdout: Stream
  readonly stderr: Stream
  /** NO_COLOR and TERM count. */
  readonly env: { readonly [name: string]: string | undefined }
}

/** The reader of our output has gone (`… | head`): the command ends without a message. */
export class ReaderGone extends Error {}

/** Our output cannot be written, as on a full disk. */
export class OutputLost extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_FILE'

  constructor(cause: unknown) {
    super(`cannot write the output: ${reason(cause)}`, { cause })
  }
}

/**
 * Writes to a stream as fast as its reader reads. Throws ReaderGone when the reader has gone, and
 * OutputLost when the text is not written.
 */
export async function write(stream: Stream, text: string | Uint8Array): Promise<void> {
  if (stream.errored) throw lost(stream.errored)
  if (stream.destroyed) throw new ReaderGone()
  const written = new Promise<void>((resolve, reject) => {
    stream.write(text, (err) => (err ? reject(err) : resolve()))
  })
  await written.catch((err) => {
    throw lost(err)
  })
}

function lost(err: unknown): Error {
  const isGone = isPipeError(err) || errorCode(err) === 'ERR_STREAM_DESTROYED'
  return isGone ? new ReaderGone() : new OutputLost(err)
}

export function isPipeError(err: unknown): boolean {
  return errorCode(err) === 'EPIPE'
}

export interface Style {
  bold(text: string): string
  dim(text: string): string
  good(text: string): string
  attention(text: string): string
  bad(text: string): string
}

const asIs = (text: string) => text
const plain: Style = { bold: asIs, dim: asIs, good: asIs, attention: asIs, bad: asIs }

/** Colours for a terminal, unless NO_COLOR or TERM=dumb is set; otherwise plain text. */
export function styleOf(stream: Stream, env: Terminal['env']): Style {
  if (stream.isTTY !== true || (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb') return plain
  const sgr = (code: number) => (text: string) => `\x1b[${code}m${text}\x1b[0m`
  return { bold: sgr(1), dim: sgr(2), good: sgr(32), attention: sgr(33), bad: sgr(31) }
}
