import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Session } from '../access/index.ts'
import { LogInconsistent } from '../audit/index.ts'
import { errorCode } from '../errors.ts'
import { checkWitness, parseSessionId, RecordingUnusable } from '../recorder/index.ts'
import type { CliProduct } from './deps.ts'
import { CheckFailed, FileUnusable, NotFound } from './errors.ts'
import { openRecordingFile } from './input.ts'
import { findRecordingEvent, type RecordingEvent } from './recording-event.ts'

/** A recording and its fields on the log. */
export interface CheckedRecording {
  /** undefined where it was not read, because its length is another one. */
  readonly sha256: string | undefined
  readonly event: RecordingEvent | undefined
  /** The reason why the recording cannot be trusted, in words for people. */
  readonly problem: string | undefined
}

/** Compares a recording, by its session id or as a file, with the log and with its witness. */
export async function verifyRecording(
  product: CliProduct,
  subject: string,
): Promise<CheckedRecording> {
  try {
    return await compareRecording(product, subject)
  } catch (err) {
    if (!(err instanceof LogInconsistent)) throw err
    return { sha256: undefined, event: undefined, problem: err.message }
  }
}

/** Why a session has no recording, in words for people. */
export function whyUnrecorded(session: Pick<Session, 'id' | 'kind' | 'live'>): string {
  const { id, live } = session
  if (isForward(session)) return `session ${id} is a forward, and forwards are not recorded`
  if (live) return `session ${id} has no recording yet: it is live, and had no output so far`
  return `session ${id} has no recording: it had no output to record`
}

function isForward({ kind }: Pick<Session, 'kind'>): boolean {
  return kind === 'forward' || kind === 'remote-forward'
}

async function compareRecording(product: CliProduct, subject: string): Promise<CheckedRecording> {
  const id = parseSessionId(subject)
  if (id === undefined) {
    const read = await openNamed(subject)
    const sha256 = await digest(read())
    const event = await findRecordingEvent(product, { sha256 })
    return { sha256, event, problem: event && (await findProblem(product, event, sha256, read)) }
  }
  const found = await product.access.findSession(id)
  if (found === undefined) {
    throw new NotFound('session', `there is no session ${JSON.stringify(id)}`)
  }
  const event = await findRecordingEvent(product, { session: id, tenant: found.tenantId })
  // The row proves nothing: where the log has a recording, it has been changed.
  const shown = isForward(found) ? 'is a forward' : found.live ? 'is live' : undefined
  if (shown !== undefined) {
    if (event !== undefined) {
      const problem = `the row of ${id} says that it ${shown}, but the log has its recording: the row was changed`
      return { sha256: undefined, event, problem }
    }
    if (isForward(found)) throw new NotFound('session', whyUnrecorded(found))
    throw new CheckFailed(`session ${id} is still being recorded`)
  }
  const open = () => product.recorder.open(found.tenantId, id, event?.recordingBytes)
  try {
    const sha256 = await digest(await open())
    if (event === undefined) {
      return { sha256, event, problem: `the log has no digest of the recording of ${id}` }
    }
    return { sha256, event, problem: await findProblem(product, event, sha256, open) }
  } catch (err) {
    if (!(err instanceof RecordingUnusable)) throw err
    return { sha256: undefined, event, problem: err.message }
  }
}

/** A text that is no session id names a file. */
async function openNamed(subject: string): Promise<() => Readable> {
  try {
    return await openRecordingFile(subject)
  } catch (err) {
    if (!(err instanceof FileUnusable) || errorCode(err.cause) !== 'ENOENT') throw err
    throw new NotFound(
      'session',
      `there is neither a session nor a file ${subject}: give the whole id of a session, or a file`,
    )
  }
}

async function findProblem(
  { access }: CliProduct,
  event: RecordingEvent,
  sha256: string,
  open: () => Readable | Promise<Readable>,
): Promise<string | undefined> {
  const { session, recordingSha256, recordingChain, isTampered, isTwice, tenantId } = event
  if (isTwice) {
    return `the log has two digests of the recording of ${session}: one of them was forged`
  }
  const found = await access.session(tenantId, session)
  if (isTampered || found?.recordingIntact === false) {
    return `the recording of ${session} was changed while it was recorded`
  }
  if (recordingSha256 !== sha256) {
    return `the recording of ${session} does not match the log: it was changed`
  }
  const id = parseSessionId(session)
  const witness = id && (await access.recordingWitness(tenantId, id))
  if (witness?.chain !== recordingChain) {
    return `the witness of the recording of ${session} does not match the log: it was changed`
  }
  if (witness === undefined) return undefined
  if ((await checkWitness(await open(), witness)) === 'intact') return undefined
  return `the recording of ${session} was changed while it was recorded`
}

async function digest(stream: Readable): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(stream, hash)
  return hash.digest('hex')
}
