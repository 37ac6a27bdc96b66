/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import type { Person, Role, UserId } from './identity.ts'
import type { KeyRecord } from './key-record.ts'

export interface UserRow extends Person {
  readonly email: string | null
  readonly createdAt: Date
}

export interface KeyRow {
  readonly id: string
  readonly user: string
  readonly userId: UserId
  readonly type: string
  readonly fingerprint: string
  readonly comment: string
  readonly createdAt: Date
  readonly blob: Buffer
  readonly expiresAt: Date | null
  readonly verifyRequired: boolean
  readonly usedAt: Date | null
  readonly tag: Buffer | null
}

interface NewKey {
  readonly userId: UserId
  readonly type: string
  readonly blob: Buffer
  readonly fingerprint: string
  readonly comment: string
  readonly expiresAt: Date | undefined
  readonly verifyRequired: boolean
  readonly tag: Buffer
}

const userColumns = `id, name, role, email, created_at as "createdAt"`

export function insertUser(
  tx: WriteTx,
  user: { readonly name: string; readonly role: Role; readonly email: string | undefined },
): Promise<UserRow> {
  return tx.one(
    `insert into app_user (name, role, email) values ($1, $2, $3) returning ${userColumns}`,
    [user.name, user.role, user.email ?? null],
  )
}

export function findUser(tx: ReadTx, name: string): Promise<UserRow | undefined> {
  return tx.maybe(`select ${userColumns} from app_user where name = $1`, [name])
}

export function listUsers(tx: ReadTx): Promise<UserRow[]> {
  return tx.many(`select ${userColumns} from app_user order by name`)
}

export interface UserWithSessions extends UserRow {
  readonly sessions: number
}

/** With the number of web sessions that have neither expired nor been idle for too long. */
export function listWithSessions(tx: ReadTx, idleSeconds: number): Promise<UserWithSessions[]> {
  return tx.many(
    `select ${userColumns},
         (select count(*)::integer from web_session s
            where s.tenant_id = u.tenant_id and s.user_id = u.id and s.expires_at > now()
              and s.seen_at > now() - make_interval(secs => $1)) as sessions
       from app_user u order by name`,
    [idleSeconds],
  )
}

/** The first time counts. */
export async function markArrived(tx: WriteTx, user: UserId): Promise<void> {
  await tx.run('update app_user set arrived_at = now() where id = $1 and arrived_at is null', [
    user,
  ])
}

export function deleteUser(tx: WriteTx, id: UserId): Promise<number> {
  return tx.run('delete from app_user where id = $1', [id])
}

export const keyColumns = `k.id, u.name as user, u.id as "userId", k.type, k.fingerprint, k.comment,
  k.created_at as "createdAt", k.blob, k.expires_at as "expiresAt",
  k.verify_required as "verifyRequired", k.used_at as "usedAt", k.tag`
export const keyTables =
  'user_key k join app_user u on u.tenant_id = k.tenant_id and u.id = k.user_id'

/** The certificate authority's list is of keys too, whether they were certified or not. */
const isRevoked = `exists (select from certificate_revocation r where r.tenant_id = k.tenant_id
  and r.kind = 'user' and coalesce(r.generation, 0) = 0 and coalesce(r.serial, 0) = 0
  and coalesce(r.key_id, '') = '' and coalesce(r.fingerprint, '') = k.fingerprint)`

export async function insertKey(tx: WriteTx, key: NewKey): Promise<void> {
  await tx.run(
    `insert into user_key
       (user_id, type, blob, fingerprint, comment, expires_at, verify_required, tag)
       values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      key.userId,
      key.type,
      key.blob,
      key.fingerprint,
      key.comment,
      key.expiresAt ?? null,
      key.verifyRequired,
      key.tag,
    ],
  )
}

/** Keys without a tag: from before tags, or of another writer. */
export function listUntaggedKeys(tx: ReadTx): Promise<KeyRow[]> {
  return tx.many(`select ${keyColumns} from ${keyTables} where k.tag is null`)
}

export async function setKeyTags(
  tx: WriteTx,
  ids: readonly string[],
  tags: readonly Buffer[],
): Promise<void> {
  await tx.run(
    `update user_key k set tag = u.tag from unnest($1::uuid[], $2::bytea[]) as u(id, tag)
       where k.id = u.id`,
    [ids, tags],
  )
}

export function findKey(tx: ReadTx, fingerprint: string): Promise<KeyRow | undefined> {
  return tx.maybe(`select ${keyColumns} from ${keyTables} where k.fingerprint = $1`, [fingerprint])
}

export function listKeys(tx: ReadTx, userName: string | undefined): Promise<KeyRow[]> {
  return tx.many(
    `select ${keyColumns} from ${keyTables}
       where $1::text is null or u.name = $1 order by u.name, k.created_at, k.id`,
    [userName ?? null],
  )
}

export function deleteKey(tx: WriteTx, id: string): Promise<number> {
  return tx.run('delete from user_key where id = $1', [id])
}

/** A user, with the key that they hold. */
interface HolderRow extends Person, KeyRecord {
  readonly tenantSlug: string
  readonly tag: Buffer | null
}

/** The user of this key, if it has not expired, was not revoked, and the tenant is not suspended. */
export function findHolder(tx: ReadTx, blob: Buffer): Promise<HolderRow | undefined> {
  return tx.maybe(
    `select u.id, u.name, u.role, t.slug as "tenantSlug", k.user_id as "userId", k.blob,
         k.fingerprint, k.expires_at as "expiresAt", k.verify_required as "verifyRequired", k.tag
       from ${keyTables} join tenant t on t.tenant_id = k.tenant_id
       where k.blob = $1 and (k.expires_at is null or k.expires_at > now())
         and t.suspended_at is null and not ${isRevoked}`,
    [blob],
  )
}

/** A user by their id, if their tenant is not suspended. */
export function findPerson(
  tx: ReadTx,
  id: string,
): Promise<(Person & { readonly tenantSlug: string }) | undefined> {
  return tx.maybe(
    `select u.id, u.name, u.role, t.slug as "tenantSlug"
       from app_user u join tenant t on t.tenant_id = u.tenant_id
       where u.id = $1 and t.suspended_at is null`,
    [id],
  )
}

/** 0 when the key has shown a higher counter before. Keys without a counter always show the same. */
export function countSignature(tx: WriteTx, fingerprint: string, counter: number): Promise<number> {
  return tx.run(
    `insert into security_key_counter as c (fingerprint, counter) values ($1, $2)
       on conflict (tenant_id, fingerprint)
       do update set counter = excluded.counter, seen_at = now()
       where c.counter <= excluded.counter`,
    [fingerprint, counter],
  )
}

interface ExpiringRow {
  readonly id: string
  readonly expiresAt: Date
}

/** Of a link: a member made it for somebody who is to join. An operator's is good for ten minutes. */
const isInvitation = "expires_at - created_at > interval '1 hour'"

/** All of the tenant that were not used. */
export async function deleteInvitations(tx: WriteTx): Promise<void> {
  await tx.run(`delete from login_link where ${isInvitation}`, [])
}

/** All that were not used. */
export async function deleteLinks(tx: WriteTx, user: UserId): Promise<void> {
  await tx.run('delete from login_link where user_id = $1', [user])
}

export function insertLink(
  tx: WriteTx,
  user: UserId,
  tokenHash: Buffer,
  seconds: number,
): Promise<ExpiringRow> {
  return tx.one(
    `insert into login_link (user_id, token_hash, expires_at)
       values ($1, $2, now() + make_interval(secs => $3)) returning id, expires_at as "expiresAt"`,
    [user, tokenHash, seconds],
  )
}

interface TakenLink extends Person {
  readonly link: string
  /** Whether it was a member's: an operator's is good for minutes. */
  readonly isInvitation: boolean
}

/** Removes a link that is still valid. Of several attempts at once, one gets it. While a tenant is suspended, it stays. */
export function takeLink(tx: WriteTx, tokenHash: Buffer): Promise<TakenLink | undefined> {
  return tx.maybe(
    `with taken as (
       delete from login_link where token_hash = $1 and expires_at > now()
         and exists (select from tenant where tenant_id = app_tenant_id() and suspended_at is null)
         returning id, user_id, ${isInvitation} as invitation)
     select u.id, u.name, u.role, taken.id as link, taken.invitation as "isInvitation" from taken
       join app_user u on u.id = taken.user_id`,
    [tokenHash],
  )
}

/** A new web session: the database makes its row only together with its event. */
export function nameWebSession(tx: ReadTx, seconds: number): Promise<ExpiringRow> {
  return tx.one(
    'select gen_random_uuid() as id, now() + make_interval(secs => $1) as "expiresAt"',
    [seconds],
  )
}

interface WebSessionRow extends Person {
  readonly session: string
  readonly tenant: TenantId
  readonly tenantSlug: string
  /** The last use on record is more than a minute ago. */
  readonly stale: boolean
  /** The role is another one than at the last look. */
  readonly isChanged: boolean
}

export function findWebSession(
  tx: ReadTx,
  cookieHash: Buffer,
  idleSeconds: number,
): Promise<WebSessionRow | undefined> {
  return tx.maybe(
    `select u.id, u.name, u.role, s.id as session, t.tenant_id as tenant, t.slug as "tenantSlug",
         s.seen_at < now() - interval '1 minute' as stale,
         s.role is not null and s.role <> u.role as "isChanged"
       from web_session s
         join app_user u on u.tenant_id = s.tenant_id and u.id = s.user_id
         join tenant t on t.tenant_id = s.tenant_id
       where s.cookie_hash = $1 and s.expires_at > now() and t.suspended_at is null
         and s.seen_at > now() - make_interval(secs => $2)`,
    [cookieHash, idleSeconds],
  )
}

export function touchWebSession(tx: WriteTx, id: string): Promise<number> {
  return tx.run('update web_session set seen_at = now() where id = $1', [id])
}

export function deleteWebSession(
  tx: WriteTx,
  cookieHash: Buffer,
): Promise<(Person & { readonly session: string }) | undefined> {
  return tx.maybe(
    `with ended as (delete from web_session where cookie_hash = $1 returning id, user_id)
     select u.id, u.name, u.role, ended.id as session
       from ended join app_user u on u.id = ended.user_id`,
    [cookieHash],
  )
}

/** Removes links and web sessions that have expired: nobody can use them. */
export async function removeExpired(tx: WriteTx, idleSeconds: number): Promise<void> {
  await tx.run('delete from login_link where expires_at <= now()')
  await tx.run(
    `delete from web_session
       where expires_at <= now() or seen_at <= now() - make_interval(secs => $1)`,
    [idleSeconds],
  )
}
