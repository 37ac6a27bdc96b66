import { createHash } from 'node:crypto'
import type { TenantId } from '../postgres/index.ts'
import { EventFormat, parseEvent, parseHeader } from './asciicast.ts'
import { RecordingUnusable } from './errors.ts'
import type { SessionId } from './session-id.ts'
import type { Store, StoredFile } from './store.ts'
import { type Evidence, type KeptWitness, WitnessCheck } from './witness.ts'

/** A session whose process ended without ending its recording. */
export interface Unended {
  readonly tenant: TenantId
  readonly session: SessionId
  /** The memory of another process about the recording. */
  readonly witness?: KeptWitness | undefined
  /** Whether its digest is known already. Asked before the file is changed, which then stays as it is. */
  readonly isSealed?: () => Promise<boolean>
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
const note = 'recording interrupted: the bastion stopped'
/** No line of ours is longer. */
const lineBytesMax = 4 * 1024 * 1024

/** The bounds of a recovery are exceeded. */
class OutOfBounds extends Error {
  readonly why: 'too-large' | 'too-slow'

  constructor(why: 'too-large' | 'too-slow') {
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
  { tenant, session, witness, isSealed }: Unended,
  given: Partial<RecoveryBounds> = {},
): Promise<Recovered> {
  const bounds = { ...boundsDefault, ...given }
  let size: number | undefined
  try {
    const file = await store.reopen(tenant, session)
    if (file === undefined) return { outcome: 'missing' }
    try {
      size = await file.size()
      const sound = await readSound(file, size, witness, bounds)
      if (await isSealed?.()) return { outcome: 'sealed' }
      if (sound.outputs === 0 && witness === undefined) {
        await store.remove(tenant, session)
        return { outcome: 'empty' }
      }
      return { outcome: 'mended', ...(await mend(file, sound)) }
    } finally {
      await file.close()
    }
  } catch (err) {
    if (err instanceof OutOfBounds) return { outcome: 'given-up', why: err.why, bytes: size }
    if (err instanceof RecordingUnusable) {
      return { outcome: 'given-up', why: 'not-a-file', bytes: undefined }
    }
    throw err
  }
}

async function mend(file: StoredFile, sound: Sound): Promise<Mended> {
  if (sound.cutBytes > 0) await file.truncate(sound.bytes)
  const line = sound.noted ? '' : new EventFormat(() => 0).line('m', note)
  await file.append(Buffer.from(line))
  await file.sync()
  const durationMs = Math.round(sound.seconds * 1000)
  return {
    bytes: sound.bytes + line.length,
    sha256: sound.hash.update(line).digest('hex'),
    events: sound.events + (sound.noted ? 0 : 1),
    durationMs,
    lastEventMs: sound.startedMs === undefined ? undefined : sound.startedMs + durationMs,
    cutBytes: sound.cutBytes,
    evidence: sound.check?.result(),
  }
}

function newSound(witness: KeptWitness | undefined) {
  return {
    bytes: 0,
    events: 0,
    outputs: 0,
    seconds: 0,
    startedMs: undefined as number | undefined,
    noted: false,
    cutBytes: 0,
    hash: createHash('sha256'),
    check: witness && new WitnessCheck(witness),
  }
}

type Sound = ReturnType<typeof newSound>

/** Reads up to the first line that is not whole and ours; the file after it is not read at all. */
async function readSound(
  file: StoredFile,
  size: number,
  witness: KeptWitness | undefined,
  { bytesMax, timeMaxMs }: RecoveryBounds,
): Promise<Sound> {
  const sound = newSound(witness)
  const deadlineMs = performance.now() + timeMaxMs
  let rest: Buffer[] = []
  let restBytes = 0
  reading: for await (const chunk of file.read()) {
    if (sound.bytes + restBytes > bytesMax) throw new OutOfBounds('too-large')
    if (performance.now() > deadlineMs) throw new OutOfBounds('too-slow')
    let at = 0
    for (let end = chunk.indexOf(0x0a, at); end >= 0; end = chunk.indexOf(0x0a, at)) {
      const line = Buffer.concat([...rest, chunk.subarray(at, end + 1)])
      rest = []
      restBytes = 0
      at = end + 1
      if (!addLine(sound, line)) break reading
    }
    rest.push(chunk.subarray(at))
    restBytes += chunk.length - at
    if (restBytes > lineBytesMax) break
  }
  sound.cutBytes = Math.max(0, size - sound.bytes)
  return sound
}

/** False at a line that a crash, or another program, spoiled. */
function addLine(sound: Sound, line: Buffer): boolean {
  const text = line.toString('utf8')
  try {
    if (sound.bytes === 0) {
      const { timestamp } = parseHeader(text)
      sound.startedMs = timestamp === undefined ? undefined : timestamp * 1000
    } else if (!text.startsWith('#')) {
      const event = parseEvent(text)
      sound.events++
      if (event.code === 'o') sound.outputs++
      sound.seconds += event.interval
      sound.noted = event.code === 'm' && event.data === note
    }
  } catch {
    // CastInvalid.
    return false
  }
  sound.bytes += line.length
  sound.hash.update(line)
  sound.check?.push(line)
  return true
}
