import { appendEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import type { Database } from '../postgres/index.ts'
import type { Recovered, Unended } from '../recorder/index.ts'
import type { LiveSessions } from './live-sessions.ts'
import { sessionEnded } from './session-events.ts'
import { listUnended, setEnded } from './session-queries.ts'

/** Mends the recordings of sessions that were cut off; the recorder's, which access does not hold. */
export type MendRecordings = (unended: Iterable<Unended>) => Promise<readonly Recovered[]>

/**
 * Ends the sessions that an earlier process of this node left open, with what is left of their
 * recordings. Answers how many. What a crash interrupts here, the next start goes on with.
 */
export async function recoverSessions(
  deps: { readonly database: Database; readonly live: LiveSessions; readonly log: Log },
  node: string,
  mend: MendRecordings,
): Promise<number> {
  const { database, live, log } = deps
  const open = await database.system((tx) => listUnended(tx, node))
  const unended = open.filter(({ session }) => !live.has(session))
  const ended = await interruptSessions(deps, unended, mend)
  if (ended > 0) log.warn({ node, ended }, 'sessions that a crash left open ended')
  return ended
}

/** Ends sessions that nobody is left to end, with what is left of their recordings. Answers how many. */
export async function interruptSessions(
  { database, live }: { readonly database: Database; readonly live: LiveSessions },
  unended: readonly Unended[],
  mend: MendRecordings,
): Promise<number> {
  const mended = new Map((await mend(unended)).map((one) => [one.session, one]))
  let ended = 0
  for (const { tenant, session } of unended) {
    const left = mended.get(session)
    const end = {
      reason: 'interrupted',
      exitStatus: undefined,
      exitSignal: undefined,
      bytes: left?.bytes ?? 0,
      recording: left && { ...left, complete: false },
    }
    await database.write(tenant, async (tx) => {
      const row = await setEnded(tx, session, end)
      if (row === undefined) return
      ended += 1
      if (left !== undefined) {
        await appendEvent(tx, {
          type: 'recording.recovered',
          public: {
            session,
            recordingDigest: `sha256:${left.sha256}`,
            recordingBytes: String(left.bytes),
            recordingEvents: String(left.events),
            truncated: left.cutBytes > 0,
          },
        })
      }
      await appendEvent(tx, sessionEnded(row, end))
    })
    live.remove(session)
  }
  return ended
}
