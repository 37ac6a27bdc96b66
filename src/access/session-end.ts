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

/**
 * Puts an end on a session's row: the caller appends its event. undefined: the end is on the log already.
 *
 * A row that says that the session ended proves nothing: any statement of a login that serves may have
 * written it. Without an event the session still gets its own.
 */
export async function putEnd(
  tx: WriteTx,
  session: SessionId,
  end: SessionEnd,
  witness: KeptWitness | undefined,
  log: Log,
): Promise<SessionRow | undefined> {
  const entries = witness === undefined ? [] : [{ session, kept: witness, agoMs: 0 }]
  if (entries.length > 0) await keepWitnesses(tx, entries)
  const row = await setEnded(tx, session, end)
  if (row !== undefined) return row
  const found = await findSession(tx, session)
  if (found === undefined || (await hasLoggedEnd(tx, session))) {
    log.debug({ session }, 'session had ended already')
    return undefined
  }
  log.error({ session }, 'another program wrote on the row of this session that it had ended')
  if (entries.length > 0) await keepWitnesses(tx, entries, { alsoEnded: true })
  if (!end.isSought) await setRecording(tx, session, end)
  return { ...found, endedAt: dateOf(end.time), endKnown: end.time !== 'unknown' }
}

function dateOf(time: EndTime): Date {
  if (time === 'unknown') return new Date()
  return 'at' in time ? time.at : new Date(Date.now() - time.agoMs)
}
