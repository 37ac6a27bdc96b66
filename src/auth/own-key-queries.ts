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

/**
 * Puts a row in the place of one: the database lets nobody make a row last longer. False when it is another
 * one than before.
 */
export async function replaceKey(tx: WriteTx, before: KeyRow, to: KeyRow): Promise<boolean> {
  const removed = await tx.run(
    'delete from user_key where id = $1 and tag is not distinct from $2',
    [before.id, before.tag],
  )
  if (removed === 0) return false
  await tx.run(
    `insert into user_key (id, user_id, type, blob, fingerprint, comment, created_at, expires_at,
         used_at, verify_required, tag)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      to.id,
      to.userId,
      to.type,
      to.blob,
      to.fingerprint,
      to.comment,
      to.createdAt,
      to.expiresAt,
      to.usedAt,
      to.verifyRequired,
      to.tag,
    ],
  )
  return true
}

/** To the minute: not each of many logins in a minute writes. */
export async function touchKey(tx: WriteTx, fingerprint: string): Promise<void> {
  await tx.run(
    `update user_key set used_at = now()
       where fingerprint = $1 and (used_at is null or used_at < now() - interval '1 minute')`,
    [fingerprint],
  )
}
