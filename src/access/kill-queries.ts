/** Row-level security narrows every statement here, but those marked, to the tenant of the transaction. */

import type { InstanceId, ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { SessionRow } from './session-row.ts'

/** The fields of a killed session in the log. */
export type KilledRow = Pick<SessionRow, 'id' | 'userId' | 'user' | 'targetId' | 'target'>

/**
 * The facts that decide whether a session may go on. The command is left out, because it may be
 * large.
 */
export type UnmarkedRow = Pick<
  SessionRow,
  | 'id'
  | 'userId'
  | 'keyFingerprint'
  | 'targetId'
  | 'targetGeneration'
  | 'login'
  | 'kind'
  | 'certificateGeneration'
  | 'certificateSerial'
  | 'certificateKeyId'
>

/** Locks live sessions that are not marked to be ended. Sessions that were marked before keep their mark. */
export function lockUnmarked(tx: WriteTx, ids: readonly SessionId[]): Promise<KilledRow[]> {
  return tx.many(
    `select id, user_id as "userId", user_name as user, target_id as "targetId",
       target_name as target
     from session where id = any($1) and ended_at is null and killed_at is null
     order by id for update`,
    [ids],
  )
}

/**
 * Of some live sessions of this process, those that were marked. The process knows better than the row which
 * ones have ended: any process of the application can write that.
 */
export function listKilled(
  tx: ReadTx,
  ids: readonly SessionId[],
): Promise<{ readonly id: SessionId; readonly reason: string }[]> {
  return tx.many(
    `select id, coalesce(kill_reason, '') as reason from session
       where id = any($1) and killed_at is not null`,
    [ids],
  )
}

/** Of some live sessions of this process, those that were not marked, whatever their rows say of an end. */
export function listUnmarked(tx: ReadTx, ids: readonly SessionId[]): Promise<UnmarkedRow[]> {
  return tx.many(
    `select id, user_id as "userId", key_fingerprint as "keyFingerprint",
       target_id as "targetId", target_generation as "targetGeneration", login, kind,
       certificate_generation as "certificateGeneration",
       certificate_serial::text as "certificateSerial", certificate_key_id as "certificateKeyId"
     from session where id = any($1) and killed_at is null`,
    [ids],
  )
}

/**
 * Across tenants: those with a live session of this instance that is marked, or with a live session of
 * it and a grant that ran out a moment ago.
 */
export function listTenantsToLookAt(
  tx: ReadTx,
  instance: InstanceId,
): Promise<{ readonly tenant: TenantId }[]> {
  return tx.many(
    `select distinct tenant_id as tenant from session
       where instance = $1 and ended_at is null and killed_at is not null
     union
     select tenant_id from access_grant g
       where until between now() - interval '2 minutes' and now()
         and exists (select from session s
           where s.instance = $1 and s.tenant_id = g.tenant_id and s.ended_at is null)`,
    [instance],
  )
}

/** Delivered when the transaction commits, to every process that listens; or never: see isCrowded. */
export async function notify(tx: WriteTx, channel: string, payload: string): Promise<void> {
  await tx.run('select notify_if_room($1, $2)', [channel, payload])
}
