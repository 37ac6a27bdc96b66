/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { UserId } from './identity.ts'
import { type KeyRow, keyColumns, keyTables } from './queries.ts'

/** The oldest first. */
export function listOwnKeys(tx: ReadTx, user: UserId): Promise<KeyRow[]> {
  return tx.many(
    `select ${keyColumns} from ${keyTables} where k.user_id = $1 order by k.created_at, k.id`,
    [user],
  )
}

export function findOwnKey(tx: ReadTx, user: UserId, id: string): Promise<KeyRow | undefined> {
  return tx.maybe(
    `select ${keyColumns} from ${keyTables} where k.user_id = $1 and k.id::text = $2`,
    [user, id],
  )
}

/** 0 when the row is another one than before: its tag, or nothing of it, is there any more. */
export function updateKey(
  tx: WriteTx,
  before: Pick<KeyRow, 'id' | 'tag'>,
  to: { readonly comment: string; readonly expiresAt: Date | null; readonly tag: Buffer },
): Promise<number> {
  return tx.run(
    `update user_key set comment = $3, expires_at = $4, tag = $5
       where id = $1 and tag is not distinct from $2`,
    [before.id, before.tag, to.comment, to.expiresAt, to.tag],
  )
}

/** To the minute: not each of many logins in a minute writes. */
export async function touchKey(tx: WriteTx, fingerprint: string): Promise<void> {
  await tx.run(
    `update user_key set used_at = now()
       where fingerprint = $1 and (used_at is null or used_at < now() - interval '1 minute')`,
    [fingerprint],
  )
}
