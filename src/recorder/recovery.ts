import { createHash } from 'node:crypto'
import type { TenantId } from '../postgres/index.ts'
import { EventFormat, parseEvent, parseHeader } from './asciicast.ts'
import type { SessionId } from './session-id.ts'
import type { Store, StoredFile } from './store.ts'

/** A session of this node that an earlier process began and never ended. */
export interface Unended {
  readonly tenant: TenantId
  readonly session: SessionId
}

/** What was mended of it. */
export interface Recovered extends Unended {
  readonly bytes: number
  /** Of the mended file's bytes, in hex. */
  readonly sha256: string
  readonly events: number
  readonly durationMs: number
  /** Bytes of a torn last line, or of what a power cut left behind it, that were cut away. */
  readonly cutBytes: number
}

const note = 'recording interrupted: the bastion stopped'
/** No line of ours is longer; what is, is no line of ours. */
const lineBytesMax = 4 * 1024 * 1024

/**
 * Makes a recording that a dead process left behind playable, and marks it.
 *
 * Undefined when there is nothing to keep: no file, or nothing output in it, which is removed.
 * Repeating it changes nothing more.
 */
export async function recoverRecording(
  store: Store,
  { tenant, session }: Unended,
): Promise<Recovered | undefined> {
  const file = await store.reopen(tenant, session)
  if (file === undefined) return undefined
  try {
    const sound = await readSound(file)
    if (sound.outputs === 0) {
      await store.remove(tenant, session)
      return undefined
    }
    if (sound.cutBytes > 0) await file.truncate(sound.bytes)
    const line = sound.noted ? '' : new EventFormat(() => 0).line('m', note)
    await file.append(Buffer.from(line))
    await file.sync()
    return {
      tenant,
      session,
      bytes: sound.bytes + line.length,
      sha256: sound.hash.update(line).digest('hex'),
      events: sound.events + (sound.noted ? 0 : 1),
      durationMs: Math.round(sound.seconds * 1000),
      cutBytes: sound.cutBytes,
    }
  } finally {
    await file.close()
  }
}

/** Reads up to the first line that is not whole and ours. */
async function readSound(file: StoredFile) {
  const sound = {
    bytes: 0,
    events: 0,
    outputs: 0,
    seconds: 0,
    noted: false,
    cutBytes: 0,
    hash: createHash('sha256'),
  }
  let rest: Buffer[] = []
  let restBytes = 0
  let spoiled = false
  for await (const chunk of file.read()) {
    let at = 0
    while (!spoiled) {
      const end = chunk.indexOf(0x0a, at)
      if (end < 0) break
      const line = Buffer.concat([...rest, chunk.subarray(at, end + 1)])
      rest = []
      restBytes = 0
      at = end + 1
      spoiled = !addLine(sound, line)
      if (spoiled) restBytes = line.length
    }
    restBytes += chunk.length - at
    if (restBytes > lineBytesMax) spoiled = true
    if (spoiled) rest = []
    else if (at < chunk.length) rest.push(chunk.subarray(at))
  }
  return { ...sound, cutBytes: restBytes }
}

function addLine(sound: Omit<Awaited<ReturnType<typeof readSound>>, 'cutBytes'>, line: Buffer) {
  const text = line.toString('utf8')
  try {
    if (sound.bytes === 0) parseHeader(text)
    else if (!text.startsWith('#')) {
      const event = parseEvent(text)
      sound.events++
      if (event.code === 'o') sound.outputs++
      sound.seconds += event.interval
      sound.noted = event.code === 'm' && event.data === note
    }
  } catch {
    // CastInvalid: here begins what a crash spoiled.
    return false
  }
  sound.bytes += line.length
  sound.hash.update(line)
  return true
}
