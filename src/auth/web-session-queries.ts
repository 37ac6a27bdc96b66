/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { Person, SignInProof, UserId } from './identity.ts'

export interface WebSessionDetails {
  readonly id: string
  readonly proof: SignInProof
  readonly provedAt: Date
  readonly createdAt: Date
  readonly seenAt: Date
  readonly expiresAt: Date
  readonly device: string
  readonly source: string
}

/** The live ones of a user, the last used first. */
export function listWebSessions(
  tx: ReadTx,
  user: UserId,
  idleSeconds: number,
): Promise<WebSessionDetails[]> {
  return tx.many(
    `select id, proof, proved_at as "provedAt", created_at as "createdAt", seen_at as "seenAt",
         expires_at as "expiresAt", device, source
       from web_session where user_id = $1 and expires_at > now()
         and seen_at > now() - make_interval(secs => $2)
       order by seen_at desc, id`,
    [user, idleSeconds],
  )
}

/** Whether it would still be found by its cookie. */
export async function isWebSessionLive(
  tx: ReadTx,
  id: string,
  user: UserId,
  idleSeconds: number,
): Promise<boolean> {
  const found = await tx.maybe(
    `select s.id from web_session s join tenant t on t.tenant_id = s.tenant_id
       where s.id = $1 and s.user_id = $2 and s.expires_at > now() and t.suspended_at is null
         and s.seen_at > now() - make_interval(secs => $3)`,
    [id, user, idleSeconds],
  )
  return found !== undefined
}

/** The same, and it does not end before the transaction does: an end that is under way is waited for. */
export async function holdWebSession(
  tx: WriteTx,
  id: string,
  user: UserId,
  idleSeconds: number,
): Promise<boolean> {
  const found = await tx.maybe(
    `select s.id from web_session s
       where s.id = $1 and s.user_id = $2 and s.expires_at > now()
         and s.seen_at > now() - make_interval(secs => $3)
       for share`,
    [id, user, idleSeconds],
  )
  return found !== undefined
}

/** Of the user's; answers its id. */
export function deleteWebSessionOf(
  tx: WriteTx,
  user: UserId,
  id: string,
): Promise<{ readonly id: string } | undefined> {
  return tx.maybe('delete from web_session where user_id = $1 and id::text = $2 returning id', [
    user,
    id,
  ])
}

/** All of the user's, or all but one. */
export function deleteOtherWebSessions(
  tx: WriteTx,
  user: UserId,
  kept: string | undefined,
): Promise<{ readonly id: string }[]> {
  return tx.many(
    'delete from web_session where user_id = $1 and id is distinct from $2::uuid returning id',
    [user, kept ?? null],
  )
}

/** All of the user's but those that were used last. */
export function deleteOldWebSessions(
  tx: WriteTx,
  user: UserId,
  kept: number,
): Promise<{ readonly id: string }[]> {
  return tx.many(
    `delete from web_session where user_id = $1 and id in (
       select id from web_session where user_id = $1 order by seen_at desc, id offset $2)
       returning id`,
    [user, kept],
  )
}

/** The user of a live session, as they are now, and how long ago the session was last proved. */
export function findSessionPerson(
  tx: ReadTx,
  session: string,
): Promise<(Person & { readonly provedSecondsAgo: number }) | undefined> {
  return tx.maybe(
    `select u.id, u.name, u.role,
         extract(epoch from now() - s.proved_at)::integer as "provedSecondsAgo"
       from web_session s join app_user u on u.tenant_id = s.tenant_id and u.id = s.user_id
       where s.id = $1 and s.expires_at > now()`,
    [session],
  )
}

/** The method of a fresh proof. */
export function findProof(
  tx: ReadTx,
  session: string,
  purpose: string,
): Promise<{ readonly method: string } | undefined> {
  return tx.maybe(
    `select method from step_up_proof
       where web_session_id = $1 and purpose = $2 and expires_at > now()`,
    [session, purpose],
  )
}

export async function deleteProofsBy(tx: WriteTx, factor: string): Promise<void> {
  await tx.run('delete from step_up_proof where factor_id = $1', [factor])
}

/** Undefined when the session is gone. */
export async function findCookieHash(tx: ReadTx, session: string): Promise<Buffer | undefined> {
  const row = await tx.maybe<{ hash: Buffer }>(
    'select cookie_hash as hash from web_session where id = $1',
    [session],
  )
  return row?.hash
}
