/** Asks the log about a session, because its row may be false. The log is that of the transaction's tenant. */

import { hasLeafWith } from '../audit/index.ts'
import type { ReadTx } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'

/** Far more than the clocks of two nodes differ. */
const skewMs = 3_600_000

/** The digest of its recording: this one, or any. */
export function hasLoggedDigest(tx: ReadTx, session: SessionId, sha256?: string): Promise<boolean> {
  const digest = `"recordingDigest":"${sha256 === undefined ? '' : `sha256:${sha256}"`}`
  return hasLeafWith(tx, eventsFrom(session), [`"session":"${session}"`, digest])
}

export function hasLoggedLoss(tx: ReadTx, session: SessionId): Promise<boolean> {
  return hasLeafWith(tx, eventsFrom(session), [`"session":"${session}"`, '"typ":"recording.lost"'])
}

/** Its end, or with a digest an event that has this digest. */
export function hasLoggedEnd(tx: ReadTx, session: SessionId, sha256?: string): Promise<boolean> {
  if (sha256 !== undefined) return hasLoggedDigest(tx, session, sha256)
  return hasLeafWith(tx, eventsFrom(session), [`"session":"${session}"`, '"typ":"session.end"'])
}

/** The least id of an event after the session's start: both ids begin with their millisecond. */
function eventsFrom(session: SessionId): string {
  const ms = Math.max(0, Number.parseInt(session.replaceAll('-', '').slice(0, 12), 16) - skewMs)
  const hex = ms.toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`
}
