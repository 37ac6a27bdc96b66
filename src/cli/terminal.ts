import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'

/** A stream that may be somebody's terminal. */
export type Stream = Writable & { readonly isTTY?: boolean | undefined }

/** Where a command reads from and writes to. */
export interface Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean | undefined }
  readonly stdout: Stream
  readonly stderr: Stream
  /** NO_COLOR and TERM are looked at. */
  readonly env: { readonly [name: string]: string | undefined }
}

/** The reader of our output has gone (`… | head`): there is nobody to tell anything more. */
export class ReaderGone extends Error {}

/** Writes to a stream as fast as it takes it. Throws ReaderGone when it takes no more. */
export async function write(stream: Stream, text: string | Uint8Array): Promise<void> {
  if (stream.destroyed || stream.errored) throw new ReaderGone()
  if (stream.write(text)) return
  try {
    await once(stream, 'drain')
  } catch (err) {
    throw isPipeError(err) ? new ReaderGone() : err
  }
}

export function isPipeError(err: unknown): boolean {
  return err instanceof Error && 'code' in err && err.code === 'EPIPE'
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

/** Colours where a person looks on and has not asked for none; otherwise the text as it is. */
export function styleOf(stream: Stream, env: Terminal['env']): Style {
  if (stream.isTTY !== true || (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb') return plain
  const sgr = (code: number) => (text: string) => `\x1b[${code}m${text}\x1b[0m`
  return { bold: sgr(1), dim: sgr(2), good: sgr(32), attention: sgr(33), bad: sgr(31) }
}
