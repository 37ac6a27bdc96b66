/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { TargetId } from './ids.ts'

export interface TargetRow {
  readonly id: TargetId
  readonly name: string
  readonly host: string
  readonly port: number
  readonly logins: readonly string[]
  readonly auth: 'key' | 'cert'
  readonly generation: number
  readonly hostCertified: boolean
  readonly keyTypes: readonly string[]
  readonly keyBlobs: readonly Buffer[]
  /** Null for a row from before tags, or of another writer. */
  readonly tag: Buffer | null
}

// A union of arrays would lose the order; a target has few keys, and both lists have the same order.
export const targetColumns = `t.id, t.name, t.host, t.port, t.logins, t.auth, t.tag,
  t.generation, t.host_certified as "hostCertified",
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

export function listTargetsById(tx: ReadTx, ids: readonly TargetId[]): Promise<TargetRow[]> {
  return tx.many(`select ${targetColumns} from target t where t.id = any($1)`, [ids])
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

/**
 * Until the end of the transaction no other transaction changes the target. Grants on it can be
 * added meanwhile.
 */
export function lockTarget(tx: WriteTx, name: string): Promise<object | undefined> {
  return tx.maybe('select id from target where name = $1 for no key update', [name])
}

export async function setTarget(
  tx: WriteTx,
  id: TargetId,
  target: Pick<TargetRow, 'host' | 'port' | 'logins' | 'auth' | 'generation'>,
): Promise<void> {
  await tx.run(
    `update target set host = $2, port = $3, logins = $4, auth = $5, generation = $6
       where id = $1`,
    [id, target.host, target.port, target.logins, target.auth, target.generation],
  )
}

export function deleteHostKeys(
  tx: WriteTx,
  target: TargetId,
  keys: readonly { readonly blob: Buffer }[],
): Promise<number> {
  return tx.run('delete from target_host_key where target_id = $1 and blob = any($2::bytea[])', [
    target,
    keys.map(({ blob }) => blob),
  ])
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
