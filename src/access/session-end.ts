import type { Log } from '../log.ts'
import type { WriteTx } from '../postgres/index.ts'
import type { KeptWitness, SessionId } from '../recorder/index.ts'
import { hasLoggedEnd } from './logged-session.ts'
import {
  type EndTime,
  findSession,
  type SessionEnd,
  setEnded,
  setRecording,
} from './session-queries.ts'
import type { SessionRow } from './session-row.ts'
import { keepWitnesses } from './witness-queries.ts'

/** A session's row with its end. */
export interface PutEnd {
  readonly row: SessionRow
  /** The row said before that the session had ended: see tellForeign. */
  readonly isForeign: boolean
}

/**
 * Puts an end on a session's row: the caller appends its event, and once that is done calls tellForeign.
 * undefined: the end is on the log already.
 *
 * A row that says that the session ended proves nothing: any statement of a login that serves may have
 * written it. Nor does an event, which such a login can append: of an end that is put on record for the
 * first time (`isRepeated`), none is believed, and later only one with the digest of the recording.
 */
export async function putEnd(
  tx: WriteTx,
  session: SessionId,
  end: SessionEnd,
  {
    witness,
    isRepeated,
    log,
  }: {
    readonly witness: KeptWitness | undefined
    /** An earlier try, or another process, may have put this end on record. */
    readonly isRepeated: boolean
    readonly log: Log
  },
): Promise<PutEnd | undefined> {
  const entries = witness === undefined ? [] : [{ session, kept: witness, agoMs: 0 }]
  if (entries.length > 0) await keepWitnesses(tx, entries)
  const row = await setEnded(tx, session, end)
  if (row !== undefined) return { row, isForeign: false }
  const found = await findSession(tx, session)
  const isLogged = () => hasLoggedEnd(tx, session, end.recording?.sha256)
  if (found === undefined || (isRepeated && (await isLogged()))) {
    log.debug({ session }, 'session had ended already')
    return undefined
  }
  if (entries.length > 0) await keepWitnesses(tx, entries, { alsoEnded: true })
  if (!end.isSought) await setRecording(tx, session, end)
  const known = { endedAt: dateOf(end.time), endKnown: end.time !== 'unknown' }
  return { row: { ...found, ...known, recordingSought: end.isSought }, isForeign: true }
}

/**
 * Not before the event is on the log: a process that has lost its lease finds the ends that its successor put on
 * record, and only the log refuses it.
 */
export function tellForeign({ row, isForeign }: PutEnd, log: Log): void {
  if (!isForeign) return
  const session = row.id
  log.error({ session }, 'another program wrote on the row of this session that it had ended')
}

function dateOf(time: EndTime): Date {
  if (time === 'unknown') return new Date()
  return 'at' in time ? time.at : new Date(Date.now() - time.agoMs)
}
