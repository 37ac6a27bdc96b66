/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { UserRow } from './queries.ts'

export interface MemberRow extends UserRow {
  readonly passkeys: number
  readonly keys: number
  /** Of a live web session. */
  readonly seenAt: Date | null
  /** When somebody first had a way in as this user. */
  readonly arrivedAt: Date | null
}

/**
 * Whether somebody has come in as this user, or could: by a web session, an SSH key or a certificate. It is so
 * for good: whoever lost their keys and passkeys is still the person that they were.
 */
export function hasArrived({ arrivedAt }: MemberRow): boolean {
  return arrivedAt !== null
}

const members = `select u.id, u.name, u.role, u.email, u.created_at as "createdAt",
    u.arrived_at as "arrivedAt",
    (select count(*)::integer from passkey p where p.tenant_id = u.tenant_id and p.user_id = u.id) as passkeys,
    (select count(*)::integer from user_key k where k.tenant_id = u.tenant_id and k.user_id = u.id) as keys,
    (select max(s.seen_at) from web_session s
       where s.tenant_id = u.tenant_id and s.user_id = u.id and s.expires_at > now()
         and s.seen_at > now() - make_interval(secs => $1)) as "seenAt"
  from app_user u`

export function listMembers(tx: ReadTx, idleSeconds: number): Promise<MemberRow[]> {
  return tx.many(`${members} order by u.name`, [idleSeconds])
}

export function findMember(
  tx: ReadTx,
  id: string,
  idleSeconds: number,
): Promise<MemberRow | undefined> {
  return tx.maybe(`${members} where u.id::text = $2`, [idleSeconds, id])
}

export async function countOwners(tx: ReadTx): Promise<number> {
  const { count } = await tx.one<{ count: number }>(
    "select count(*)::integer as count from app_user where role = 'owner'",
    [],
  )
  return count
}

/** Until the transaction ends, no other one that asks for this changes the members of the tenant. */
export async function lockMembers(tx: WriteTx): Promise<void> {
  await tx.one(
    "select pg_advisory_xact_lock(hashtextextended('members ' || app_tenant_id(), 0))",
    [],
  )
}
