/** Across tenants: run these in Database.system. */

import type { InstanceId, ReadTx, TenantId } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'

export interface Found {
  readonly tenant: TenantId
  readonly session: SessionId
}

/** For each tenant in one round, so that no tenant delays the others. */
const sessionsMax = 50
const tenantsMax = 1000
/** The same of recordings that are sought, in any order: some may be missing for good, and hide no others. */
export const soughtMax = 200

/** Sessions that an instance has open on record, some of each tenant. */
export function listUnended(tx: ReadTx, instance: InstanceId): Promise<Found[]> {
  return tx.many(
    `select t.tenant_id as tenant, s.id as session
     from (select distinct tenant_id from session
       where instance = $1 and ended_at is null limit ${tenantsMax}) t
     cross join lateral (select id from session
       where instance = $1 and tenant_id = t.tenant_id and ended_at is null
       order by id limit ${sessionsMax}) s`,
    [instance],
  )
}

/** Another process that has a lease recovers its sessions. */
const isHeld = (instance: string) =>
  `exists (select from node_instance r
     where r.id = ${instance}.recovered_by and r.id <> $2 and r.ended_at is null)`

/** Whether a recording of the node is sought that another process still recovers. */
export async function isSoughtElsewhere(
  tx: ReadTx,
  node: string,
  own: InstanceId,
): Promise<boolean> {
  const { isSought } = await tx.one<{ isSought: boolean }>(
    `select exists (select from node_instance i
       where i.node = $1 and i.ended_at is not null and ${isHeld('i')}
         and exists (select from session s where s.instance = i.id and s.recording_sought)) as "isSought"`,
    [node, own],
  )
  return isSought
}

/**
 * Ended sessions of a node whose recording was not found yet, some of each tenant. Only those of this
 * instance, and of ended ones that no other recovers now: a row may say of a live session that it ended.
 */
export function listSought(tx: ReadTx, node: string, own: InstanceId): Promise<Found[]> {
  return tx.many(
    `select t.tenant_id as tenant, s.id as session
     from (select distinct tenant_id from session
       where node = $1 and recording_sought limit ${tenantsMax}) t
     cross join lateral (select id from session s
       where node = $1 and tenant_id = t.tenant_id and recording_sought
         and (s.instance = $2 or exists (select from node_instance i
           where i.id = s.instance and i.ended_at is not null and not ${isHeld('i')}))
       order by random() limit ${soughtMax}) s`,
    [node, own],
  )
}
