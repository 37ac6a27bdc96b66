import { type Checkpoint, parseCheckpoint } from './checkpoint.ts'
import { NoteInvalid } from './errors.ts'
import { type Note, parseNote, type VerifierKey, verifyNote } from './note.ts'

/** A checkpoint that was kept elsewhere, as a C2SP signed note. */
export class KeptCheckpoint implements Checkpoint {
  readonly origin: string
  readonly size: number
  readonly root: Buffer
  readonly #note: Note

  constructor(note: string) {
    this.#note = parseNote(note)
    const { origin, size, root } = parseCheckpoint(this.#note.text)
    this.origin = origin
    this.size = size
    this.root = root
  }

  /** Why it is not a checkpoint of this log by this key; undefined when it is. */
  problem(origin: string, key: VerifierKey): string | undefined {
    if (this.origin !== origin) return `the kept checkpoint is of the log ${this.origin}`
    try {
      if (verifyNote(this.#note, [key]).length === 1) return undefined
      return 'our key did not sign the kept checkpoint'
    } catch (err) {
      if (err instanceof NoteInvalid) return err.message
      throw err
    }
  }
}

/** A checkpoint's lines, an empty one, and its signatures; in any other text. */
const notes = /^[^\n]+\n(?:0|[1-9][0-9]*)\n[A-Za-z0-9+/]{43}=\n\n(?:— [^\n]+(?:\n|$))+/gm

/**
 * The checkpoints in a text: one signed note, or the output of `audit checkpoint`, with or without
 * `--json`. Throws NoteInvalid when there is none.
 */
export function parseKeptCheckpoints(text: string): KeptCheckpoint[] {
  const found = notesIn(text).map((note) => new KeptCheckpoint(note))
  if (found.length === 0) throw new NoteInvalid('there is no checkpoint in it')
  return found
}

function notesIn(text: string): string[] {
  const parsed = parseJson(text)
  if (Array.isArray(parsed)) return parsed.flatMap((one: unknown) => noteIn(one))
  if (parsed !== undefined) return noteIn(parsed)
  return (text.match(notes) ?? []).map((note) => (note.endsWith('\n') ? note : `${note}\n`))
}

function noteIn(value: unknown): string[] {
  const note = typeof value === 'object' && value !== null && 'note' in value && value.note
  return typeof note === 'string' ? notesIn(note) : []
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
