/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import { type SessionRow, sessionColumns, sessionTables } from './session-row.ts'

/** Marks live sessions to be ended, with why; those that were marked before keep their reason. */
export function setKilled(
  tx: WriteTx,
  ids: readonly SessionId[],
  reason: string,
): Promise<SessionRow[]> {
  return tx.many(
    `update session s set killed_at = now(), kill_reason = $2
     from tenant t
     where s.id = any($1) and s.ended_at is null and s.killed_at is null
       and t.tenant_id = s.tenant_id
     returning ${sessionColumns}`,
    [ids, reason],
  )
}

/** Of some sessions, those that were marked and have not ended. */
export function listKilled(
  tx: ReadTx,
  ids: readonly SessionId[],
): Promise<{ readonly id: SessionId; readonly reason: string }[]> {
  return tx.many(
    `select id, coalesce(kill_reason, '') as reason from session
       where id = any($1) and ended_at is null and killed_at is not null`,
    [ids],
  )
}

/** Of some sessions, those that go on and were not marked. */
export function listUnmarked(tx: ReadTx, ids: readonly SessionId[]): Promise<SessionRow[]> {
  return tx.many(
    `select ${sessionColumns} from ${sessionTables}
       where s.id = any($1) and s.ended_at is null and s.killed_at is null`,
    [ids],
  )
}

/** Delivered when the transaction commits, to every process that listens. */
export async function notify(tx: WriteTx, channel: string, payload: string): Promise<void> {
  await tx.run('select pg_notify($1, $2)', [channel, payload])
}
