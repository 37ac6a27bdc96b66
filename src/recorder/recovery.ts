import type { TenantId } from '../postgres/index.ts'
import { EventFormat } from './asciicast.ts'
import { RecordingUnusable } from './errors.ts'
import type { SessionId } from './session-id.ts'
import { interruptionNote, SoundPart } from './sound-part.ts'
import type { Store, StoredFile } from './store.ts'
import type { Evidence, KeptWitness } from './witness.ts'

/** A session whose process ended without ending its recording. */
export interface Unended {
  readonly tenant: TenantId
  readonly session: SessionId
  /** The memory of another process about the recording. */
  readonly witness?: KeptWitness | undefined
  /** Whether its digest is known already. Asked before the file is changed, which then stays as it is. */
  readonly isSealed?: () => Promise<boolean>
  /** How long its reading may take now; then the answer is 'unfinished'. The first bytes are always read. */
  readonly withinMs?: number
}

/** A repaired recording with its digest. */
export interface Mended {
  readonly bytes: number
  /** SHA-256 of the repaired file, in hex. */
  readonly sha256: string
  readonly events: number
  readonly durationMs: number
  /**
   * The time of the last event, in milliseconds since 1970, by the recording itself; undefined if
   * it has none.
   */
  readonly lastEventMs: number | undefined
  /** Bytes after the last whole line that were cut away: a torn line, or other bytes. */
  readonly cutBytes: number
  /** Whether it agrees with its witness; undefined without a witness. */
  readonly evidence: Evidence | undefined
}

/** The result of a recovery. */
export type Recovered =
  | ({ readonly outcome: 'mended' } & Mended)
  /** It had no output, and was removed. */
  | { readonly outcome: 'empty' }
  /** There is no file here. */
  | { readonly outcome: 'missing' }
  /** Its digest is known already: nothing was changed. */
  | { readonly outcome: 'sealed' }
  /** Its reading takes longer than was asked for: nothing was changed. */
  | { readonly outcome: 'unfinished' }
  /** It is left as it is. */
  | {
      readonly outcome: 'given-up'
      readonly why: 'not-a-file' | 'too-large' | 'too-slow'
      readonly bytes: number | undefined
    }

/** Limits for the recovery of one recording. */
export interface RecoveryBounds {
  /** Longer recordings are left as they are. */
  readonly bytesMax: number
  readonly timeMaxMs: number
}

const boundsDefault: RecoveryBounds = { bytesMax: 64 * 1024 ** 3, timeMaxMs: 120_000 }

type Bound = 'too-large' | 'too-slow' | 'unfinished'

/** The bounds of a recovery are exceeded. */
class OutOfBounds extends Error {
  readonly why: Bound

  constructor(why: Bound) {
    super(why)
    this.why = why
  }
}

/**
 * Makes the recording of a dead process playable, and marks it. Repeating it changes nothing more.
 * Rejects when the storage fails.
 */
export async function recoverRecording(
  store: Store,
  { tenant, session, witness, isSealed, withinMs = Number.POSITIVE_INFINITY }: Unended,
  given: Partial<RecoveryBounds> = {},
): Promise<Recovered> {
  const bounds = { ...boundsDefault, ...given, withinMs }
  let size: number | undefined
  try {
    const file = await store.reopen(tenant, session)
    if (file === undefined) return { outcome: 'missing' }
    try {
      size = await file.size()
      const sound = await readSound(file, witness, bounds)
      if (await isSealed?.()) return { outcome: 'sealed' }
      if (sound.outputs === 0 && witness === undefined) {
        await store.remove(tenant, session)
        return { outcome: 'empty' }
      }
      return { outcome: 'mended', ...(await mend(file, size, sound)) }
    } finally {
      await file.close()
    }
  } catch (err) {
    if (err instanceof OutOfBounds) return outcomeOf(err.why, size)
    if (err instanceof RecordingUnusable) {
      return { outcome: 'given-up', why: 'not-a-file', bytes: undefined }
    }
    throw err
  }
}

function outcomeOf(why: Bound, bytes: number | undefined): Recovered {
  return why === 'unfinished' ? { outcome: why } : { outcome: 'given-up', why, bytes }
}

async function mend(file: StoredFile, size: number, sound: SoundPart): Promise<Mended> {
  const cutBytes = Math.max(0, size - sound.bytes)
  if (cutBytes > 0) await file.truncate(sound.bytes)
  const line = sound.noted ? '' : new EventFormat(() => 0).line('m', interruptionNote)
  await file.append(Buffer.from(line))
  await file.sync()
  const durationMs = Math.round(sound.seconds * 1000)
  return {
    bytes: sound.bytes + line.length,
    sha256: sound.hash.update(line).digest('hex'),
    events: sound.events + (sound.noted ? 0 : 1),
    durationMs,
    lastEventMs: sound.startedMs === undefined ? undefined : sound.startedMs + durationMs,
    cutBytes,
    evidence: sound.check?.result(),
  }
}

/** Reads up to the first line that is not whole and ours; the file after it is not read at all. */
async function readSound(
  file: StoredFile,
  witness: KeptWitness | undefined,
  { bytesMax, timeMaxMs, withinMs }: RecoveryBounds & { readonly withinMs: number },
): Promise<SoundPart> {
  const sound = new SoundPart(witness)
  const startMs = performance.now()
  for await (const chunk of file.read()) {
    const tookMs = performance.now() - startMs
    if (sound.readBytes > bytesMax) throw new OutOfBounds('too-large')
    if (tookMs > timeMaxMs) throw new OutOfBounds('too-slow')
    if (tookMs > withinMs && sound.readBytes > 0) throw new OutOfBounds('unfinished')
    if (!(await sound.add(chunk))) break
  }
  return sound
}
