/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { Role, UserId } from '../auth/index.ts'
import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { ChannelKind } from './channel-kind.ts'
import type { Rule } from './policy.ts'
import type { TargetId } from './target.ts'

export interface TargetRow {
  readonly id: TargetId
  readonly name: string
  readonly host: string
  readonly port: number
  readonly logins: readonly string[]
  readonly auth: 'key' | 'cert'
  readonly hostCertified: boolean
  readonly keyTypes: readonly string[]
  readonly keyBlobs: readonly Buffer[]
  /** Null for a row from before tags, or of another writer. */
  readonly tag: Buffer | null
}

export interface GrantRow extends Rule {
  readonly user: string | null
  readonly target: string | null
  readonly createdAt: Date
}

/** One that is asked about: whatever of it is gone is null. */
export interface PersonRow {
  readonly slug: string
  readonly suspended: boolean
  readonly user: AskerRow | null
  readonly key: { readonly expiresAt: string | null } | null
}

/** A user as it is now. */
export interface AskerRow {
  readonly id: UserId
  readonly name: string
  readonly role: Role
}

/** One row for each person, in their order: the tenant, the user, and the key when it is theirs. */
export function listPeople(
  tx: ReadTx,
  people: readonly { readonly id: UserId; readonly keyFingerprint: string }[],
): Promise<PersonRow[]> {
  return tx.many(
    `select t.slug, t.suspended_at is not null as suspended,
       case when u.id is not null
         then json_build_object('id', u.id, 'name', u.name, 'role', u.role) end as user,
       case when k.id is not null
         then json_build_object('expiresAt', k.expires_at) end as key
     from tenant t
       cross join unnest($1::uuid[], $2::text[]) with ordinality as p(id, fingerprint, place)
       left join app_user u on u.tenant_id = t.tenant_id and u.id = p.id
       left join user_key k on k.tenant_id = t.tenant_id and k.user_id = u.id
         and k.fingerprint = p.fingerprint
     where t.tenant_id = app_tenant_id()
     order by p.place`,
    [people.map(({ id }) => id), people.map(({ keyFingerprint }) => keyFingerprint)],
  )
}

const ruleColumns = `g.id, g.user_id as "userId", g.role, g.target_id as "targetId", g.logins,
  g.allow, g.forwards, g.until`

/** Every grant that names one of the users, or a role that one of them has. */
export function listRules(tx: ReadTx, users: readonly UserId[]): Promise<Rule[]> {
  return tx.many(
    `select ${ruleColumns} from access_grant g
       where g.user_id = any($1)
         or g.role in (select u.role from app_user u where u.id = any($1))
       order by g.created_at, g.id`,
    [users],
  )
}

// A union of arrays would lose the order; a target has few keys, and both lists have the same order.
const targetColumns = `t.id, t.name, t.host, t.port, t.logins, t.auth, t.tag,
  t.host_certified as "hostCertified",
  array(select k.type from target_host_key k
    where k.tenant_id = t.tenant_id and k.target_id = t.id order by k.type, k.blob) as "keyTypes",
  array(select k.blob from target_host_key k
    where k.tenant_id = t.tenant_id and k.target_id = t.id order by k.type, k.blob) as "keyBlobs"`

export function findTarget(tx: ReadTx, name: string): Promise<TargetRow | undefined> {
  return tx.maybe(`select ${targetColumns} from target t where t.name = $1`, [name])
}

export function listTargets(tx: ReadTx): Promise<TargetRow[]> {
  return tx.many(`select ${targetColumns} from target t order by t.name`)
}

/** The targets with these ids, or with null all; no more than max of them. */
export function listTargetsById(
  tx: ReadTx,
  ids: readonly TargetId[] | null,
  max: number,
): Promise<TargetRow[]> {
  return tx.many(
    `select ${targetColumns} from target t
       where $1::uuid[] is null or t.id = any($1) order by t.name limit $2`,
    [ids, max],
  )
}

/** Targets without a tag: from before tags, or of another writer. */
export function listUntaggedTargets(tx: ReadTx): Promise<TargetRow[]> {
  return tx.many(`select ${targetColumns} from target t where t.tag is null`)
}

export async function setTargetTag(tx: WriteTx, id: TargetId, tag: Buffer): Promise<void> {
  await setTargetTags(tx, [id], [tag])
}

export async function setTargetTags(
  tx: WriteTx,
  ids: readonly TargetId[],
  tags: readonly Buffer[],
): Promise<void> {
  await tx.run(
    `update target t set tag = u.tag from unnest($1::uuid[], $2::bytea[]) as u(id, tag)
       where t.id = u.id`,
    [ids, tags],
  )
}

export async function countTargets(tx: ReadTx): Promise<number> {
  return (await tx.one<{ count: number }>('select count(*) from target')).count
}

export async function insertTarget(
  tx: WriteTx,
  target: Pick<TargetRow, 'name' | 'host' | 'port' | 'logins' | 'auth'>,
): Promise<TargetId> {
  const { id } = await tx.one<{ id: TargetId }>(
    'insert into target (name, host, port, logins, auth) values ($1, $2, $3, $4, $5) returning id',
    [target.name, target.host, target.port, target.logins, target.auth],
  )
  return id
}

/** From now on it may show a certificate of the tenant's host authority. */
export async function setHostCertified(tx: WriteTx, id: TargetId): Promise<void> {
  await tx.run('update target set host_certified = true where id = $1', [id])
}

export function insertHostKeys(
  tx: WriteTx,
  target: TargetId,
  keys: readonly { readonly type: string; readonly blob: Buffer }[],
): Promise<number> {
  return tx.run(
    `insert into target_host_key (target_id, type, blob)
       select $1, k.type, k.blob from unnest($2::text[], $3::bytea[]) as k(type, blob)`,
    [target, keys.map(({ type }) => type), keys.map(({ blob }) => blob)],
  )
}

/** With its host keys and the grants that name it. */
export function deleteTarget(tx: WriteTx, id: TargetId): Promise<number> {
  return tx.run('delete from target where id = $1', [id])
}

const grantTables = `access_grant g
  left join app_user u on u.tenant_id = g.tenant_id and u.id = g.user_id
  left join target t on t.tenant_id = g.tenant_id and t.id = g.target_id`
const grantColumns = `${ruleColumns}, u.name as user, t.name as target, g.created_at as "createdAt"`

export function listGrants(tx: ReadTx): Promise<GrantRow[]> {
  return tx.many(`select ${grantColumns} from ${grantTables} order by g.created_at, g.id`)
}

export function findGrant(tx: ReadTx, id: string): Promise<GrantRow | undefined> {
  return tx.maybe(`select ${grantColumns} from ${grantTables} where g.id = $1`, [id])
}

export async function countGrants(tx: ReadTx): Promise<number> {
  return (await tx.one<{ count: number }>('select count(*) from access_grant')).count
}

export async function insertGrant(
  tx: WriteTx,
  grant: {
    readonly userId: UserId | null
    readonly role: Role | null
    readonly targetId: TargetId | null
    readonly logins: readonly string[]
    readonly allow: readonly ChannelKind[]
    readonly forwards: readonly string[]
    readonly until: Date | null
  },
): Promise<string> {
  const { userId, role, targetId, logins, allow, forwards, until } = grant
  const { id } = await tx.one<{ id: string }>(
    `insert into access_grant (user_id, role, target_id, logins, allow, forwards, until)
       values ($1, $2, $3, $4, $5, $6, $7) returning id`,
    [userId, role, targetId, logins, allow, forwards, until],
  )
  return id
}

export function deleteGrant(tx: WriteTx, id: string): Promise<number> {
  return tx.run('delete from access_grant where id = $1', [id])
}

export function findUserByName(tx: ReadTx, name: string): Promise<AskerRow | undefined> {
  return tx.maybe('select id, name, role from app_user where name = $1', [name])
}
