/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { Person, UserId } from './identity.ts'
import type { PasskeyRecord } from './passkey-record.ts'

export interface PasskeyRow extends PasskeyRecord {
  readonly id: string
  readonly counter: number
  readonly transports: readonly string[]
  readonly synced: boolean
  readonly name: string
  readonly createdAt: Date
  readonly usedAt: Date | null
  readonly tag: Buffer
}

export type NewPasskey = Omit<PasskeyRow, 'createdAt' | 'usedAt'>

const columns = `p.id, p.user_id as "userId", p.credential_id as "credentialId",
  p.public_key as "publicKey", p.counter::double precision as counter, p.transports, p.synced, p.name,
  p.created_at as "createdAt", p.used_at as "usedAt", p.tag`

export async function insertPasskey(tx: WriteTx, key: NewPasskey): Promise<void> {
  await tx.run(
    `insert into passkey
       (id, user_id, credential_id, public_key, counter, transports, synced, name, tag)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [
      key.id,
      key.userId,
      key.credentialId,
      key.publicKey,
      key.counter,
      key.transports,
      key.synced,
      key.name,
      key.tag,
    ],
  )
}

/** The oldest first. */
export function listPasskeys(tx: ReadTx, user: UserId): Promise<PasskeyRow[]> {
  return tx.many(
    `select ${columns} from passkey p where p.user_id = $1 order by p.created_at, p.id`,
    [user],
  )
}

export async function countPasskeys(tx: ReadTx, user: UserId): Promise<number> {
  const { count } = await tx.one<{ count: number }>(
    'select count(*)::integer as count from passkey where user_id = $1',
    [user],
  )
  return count
}

/** Until the transaction ends, no other one changes the user's ways to sign in. */
export async function lockUser(tx: WriteTx, user: UserId): Promise<void> {
  await tx.one(
    "select pg_advisory_xact_lock(hashtextextended('factors ' || app_tenant_id() || ' ' || $1, 0))",
    [user],
  )
}

/** With its user, if their tenant is not suspended. */
export function findCredential(
  tx: ReadTx,
  user: string,
  credentialId: Buffer,
): Promise<(PasskeyRow & { readonly person: Person }) | undefined> {
  return tx.maybe(
    `select ${columns},
         jsonb_build_object('id', u.id, 'name', u.name, 'role', u.role) as person
       from passkey p join app_user u on u.tenant_id = p.tenant_id and u.id = p.user_id
         join tenant t on t.tenant_id = p.tenant_id and t.suspended_at is null
       where p.user_id::text = $1 and p.credential_id = $2`,
    [user, credentialId],
  )
}

/** 0 when the passkey has shown a higher counter before, or is gone. Those without a counter show 0. */
export function countUse(tx: WriteTx, id: string, counter: number): Promise<number> {
  return tx.run(
    `update passkey set counter = $2, used_at = now()
       where id = $1 and (counter < $2 or (counter = 0 and $2 = 0))`,
    [id, counter],
  )
}

export async function deletePasskey(tx: WriteTx, id: string): Promise<void> {
  await tx.run('delete from passkey where id = $1', [id])
}

export interface ChallengeRow {
  readonly hash: Buffer
  readonly purpose: string
  /** Null for a sign-in. */
  readonly user: UserId | null
  readonly session: string | null
}

export async function insertChallenge(
  tx: WriteTx,
  { hash, purpose, user, session }: ChallengeRow,
  seconds: number,
): Promise<void> {
  await tx.run('delete from passkey_challenge where expires_at <= now()')
  await tx.run(
    `insert into passkey_challenge (hash, purpose, user_id, web_session_id, expires_at)
       values ($1, $2, $3, $4, now() + make_interval(secs => $5))`,
    [hash, purpose, user, session, seconds],
  )
}

/** Takes a challenge away, whatever comes of it. Of several attempts at once, one gets it. */
export function takeChallenge(
  tx: WriteTx,
  { hash, purpose, user, session }: ChallengeRow,
): Promise<object | undefined> {
  return tx.maybe(
    `delete from passkey_challenge where hash = $1 and purpose = $2 and expires_at > now()
       and user_id is not distinct from $3 and web_session_id is not distinct from $4
       returning hash`,
    [hash, purpose, user, session],
  )
}
