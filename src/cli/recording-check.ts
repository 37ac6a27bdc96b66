import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Session } from '../access/index.ts'
import { errorCode } from '../errors.ts'
import { parseTenantId } from '../postgres/index.ts'
import { parseSessionId, RecordingUnusable, type SessionId } from '../recorder/index.ts'
import type { CliProduct } from './deps.ts'
import { CheckFailed, FileUnusable, NotFound } from './errors.ts'
import { openRecordingFile } from './input.ts'
import { digestOf, type Place, readRecordings } from './recording-event.ts'
import { matchOf, matchRecording, type RecordingMatch } from './recording-match.ts'

/** A recording, and each log that has it. */
export interface CheckedRecording {
  /** undefined where it was not read, because its length is another one. */
  readonly sha256: string | undefined
  readonly matches: readonly RecordingMatch[]
}

/** Of one tenant: more of them are no recordings, and each costs time. */
const sessionsMax = 20

/** Compares a recording, by its session id or as a file, with the log and with its witness. */
export async function verifyRecording(
  product: CliProduct,
  subject: string,
): Promise<CheckedRecording> {
  const id = parseSessionId(subject)
  if (id !== undefined) return checkSession(product, id)
  const read = await openNamed(subject)
  const sha256 = await digest(read())
  return { sha256, matches: await checkFile(product, sha256, read) }
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

async function checkSession(product: CliProduct, id: SessionId): Promise<CheckedRecording> {
  const found = await product.access.findSession(id)
  if (found === undefined) {
    throw new NotFound('session', `there is no session ${JSON.stringify(id)}`)
  }
  const places = await listPlaces(product)
  const place = places.find(({ tenant }) => tenant === found.tenantId)
  if (place === undefined) throw new NotFound('session', `the tenant of session ${id} is gone`)
  const [log] = await readRecordings(product, place, [id])
  if (log === undefined) return { sha256: undefined, matches: [] }
  // The row proves nothing: where the log has a recording, it has been changed.
  const shown = isForward(found) ? 'is a forward' : found.live ? 'is live' : undefined
  if (shown !== undefined) {
    const isRecorded = log.event !== undefined || log.lost !== undefined
    if (!isRecorded && log.problem === undefined) {
      if (isForward(found)) throw new NotFound('session', whyUnrecorded(found))
      throw new CheckFailed(`session ${id} is still being recorded`)
    }
    const problem = `the row of ${id} says that it ${shown}, but the log has its recording: the row was changed`
    return { sha256: undefined, matches: [matchOf(log, isRecorded ? problem : log.problem)] }
  }
  const open = () => product.recorder.open(found.tenantId, id, log.event?.recordingBytes)
  try {
    const sha256 = await digest(await open())
    return { sha256, matches: [await matchRecording(product, log, sha256, open)] }
  } catch (err) {
    if (!(err instanceof RecordingUnusable)) throw err
    return { sha256: undefined, matches: [matchOf(log, log.problem ?? err.message)] }
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

/** All logs are looked at: one of them may be that of somebody who lies. */
async function checkFile(
  product: CliProduct,
  sha256: string,
  read: () => Readable,
): Promise<readonly RecordingMatch[]> {
  const matches: RecordingMatch[] = []
  for (const place of await listPlaces(product)) {
    const sessions = await findSessions(product, place, sha256)
    if (sessions.length === 0) continue
    if (sessions.length > sessionsMax) {
      const problem = `more than ${sessionsMax} sessions have this recording: events were forged`
      matches.push({ tenant: place.slug, session: sessions[0] ?? '', event: undefined, problem })
      continue
    }
    for (const log of await readRecordings(product, place, sessions))
      matches.push(await matchRecording(product, log, sha256, read))
  }
  return matches
}

async function listPlaces({ tenants }: CliProduct): Promise<readonly Place[]> {
  return (await tenants.list()).flatMap(({ id, slug }) => {
    const tenant = parseTenantId(id)
    return tenant === undefined ? [] : [{ tenant, slug }]
  })
}

/** The sessions whose recording has this digest, as the rows show it: that is no proof. */
async function findSessions(
  { audit }: CliProduct,
  { tenant }: Place,
  sha256: string,
): Promise<readonly SessionId[]> {
  const found = new Set<SessionId>()
  for await (const { public: shown } of audit.entries(tenant)) {
    const { session, recordingDigest } = shown
    if (typeof session !== 'string' || typeof recordingDigest !== 'string') continue
    const id = parseSessionId(session)
    if (digestOf(recordingDigest) !== sha256 || id === undefined) continue
    found.add(id)
    if (found.size > sessionsMax) break
  }
  return [...found]
}

async function digest(stream: Readable): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(stream, hash)
  return hash.digest('hex')
}
