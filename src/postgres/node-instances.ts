/** Of the processes that serve, by the rows that they renew. Across tenants: run these in Database.system. */

import type { InstanceId } from './instance-id.ts'
import type { ReadTx, WriteTx } from './transaction.ts'

/** A process that has released its lease, or whose lease has run out. */
export interface EndedInstance {
  readonly id: InstanceId
  readonly node: string
  readonly endedAt: Date
}

/** In one round, of any number. */
const instancesMax = 1000
/** The same of those that left nothing behind: any number of rows may say that there was a process. */
const idleMax = 100

/** The instances that have open sessions, whatever the rows of instances say: a few steps in an index. */
const open = `
  recursive open (id) as (
    (select instance from session where ended_at is null order by instance limit 1)
    union all
    select (select s.instance from session s
        where s.ended_at is null and s.instance > o.id order by s.instance limit 1)
      from open o where o.id is not null)`

/**
 * Ends instances that have not renewed their lease in time, first those with open sessions; from now
 * on the database refuses their writes.
 *
 * An instance never ends itself, and ends no other while its own lease has run out. After a database outage
 * or a step of its clock, all leases have run out at once, and the first instance to look would end all.
 */
export function endExpiredInstances(tx: WriteTx, own: InstanceId): Promise<EndedInstance[]> {
  const lapsed = 'i.ended_at is null and i.lease_until < statement_timestamp() and i.id <> $1'
  return tx.many(
    `with ${open}, serving as (
       select i.id from node_instance i where i.id in (select id from open) and ${lapsed}
         limit ${instancesMax} for update skip locked
     ), idle as (
       select i.id from node_instance i where ${lapsed}
         order by i.lease_until limit ${instancesMax} for update skip locked
     )
     update node_instance set ended_at = clock_timestamp(), ended = 'expired'
       where id in (select id from serving union all select id from idle)
         and exists (select from node_instance o
           where o.id = $1 and o.ended_at is null and o.lease_until >= clock_timestamp())
       returning id, node, ended_at as "endedAt"`,
    [own],
  )
}

/**
 * The ended instances whose sessions this one has to end: those that it has claimed, and those that
 * no instance with a lease has, first those with open sessions: these also where a row says that they are
 * settled. Only one instance at a time repairs a recording.
 */
export function claimEndedInstances(tx: WriteTx, own: InstanceId): Promise<EndedInstance[]> {
  const free = `e.ended_at is not null and (e.recovered_by is null or e.recovered_by = $1 or not exists (
      select from node_instance r where r.id = e.recovered_by and r.ended_at is null))`
  return tx.many(
    `with ${open}, serving as (
       select e.id from node_instance e where e.id in (select id from open) and ${free}
         limit ${instancesMax} for update skip locked
     ), idle as (
       select e.id from node_instance e where e.settled_at is null and ${free}
         order by e.ended_at limit ${idleMax} for update skip locked
     )
     update node_instance set recovered_by = $1
       where id in (select id from serving union all select id from idle)
       returning id, node, ended_at as "endedAt"`,
    [own],
  )
}

/**
 * A transaction that began before the instance ended may commit a session this much later. The database
 * refuses to settle one earlier (node_keep_end).
 */
const lateCommit = "interval '2 minutes'"

/**
 * Settles ended instances whose sessions are all ended. Not those that have one open, or of which a
 * late transaction may still commit one.
 */
export function settleInstances(tx: WriteTx): Promise<number> {
  return tx.run(
    `update node_instance set settled_at = clock_timestamp()
       where id in (select i.id from node_instance i
         where i.ended_at < statement_timestamp() - ${lateCommit} and i.settled_at is null
           and not exists (select from session s where s.instance = i.id and s.ended_at is null)
         order by i.ended_at limit ${instancesMax} for update skip locked)`,
  )
}

/** Those of them that are settled are nobody's from now on. Answers which of them this one still has. */
export async function giveBackInstances(
  tx: WriteTx,
  own: InstanceId,
  instances: readonly InstanceId[],
): Promise<readonly InstanceId[]> {
  const rows = await tx.many<{ id: InstanceId }>(
    `with given as (update node_instance set recovered_by = null
       where id = any($2) and recovered_by = $1 and settled_at is not null returning id)
     select id from node_instance
       where id = any($2) and recovered_by = $1 and id not in (select id from given)`,
    [own, instances],
  )
  return rows.map(({ id }) => id)
}

/**
 * Gives a row to instances that have open sessions and no row: they are then ended like the others. A
 * transaction that was left open for hours may have put such a session on record.
 */
export function restoreInstances(tx: WriteTx): Promise<number> {
  return tx.run(
    `with ${open}
     insert into node_instance (id, node, lease_ms, lease_until)
       select o.id, 'unknown', 1000, clock_timestamp() from open o
         where o.id is not null and not exists (select from node_instance i where i.id = o.id)
         limit ${idleMax}
       on conflict do nothing`,
  )
}

/** Removes rows that nothing asks for any more; the database refuses to lose another (node_keep_row). */
export function removeOldInstances(tx: WriteTx): Promise<number> {
  return tx.run(
    `delete from node_instance where id in (select i.id from node_instance i
       where i.lease_until < statement_timestamp() - interval '1 hour'
         and i.settled_at < statement_timestamp() - interval '1 hour' and node_may_go(i)
       order by i.lease_until limit ${instancesMax} for update skip locked)`,
  )
}

/**
 * The nodes of instances that ended, or lost their lease, some time ago, or have no row, and whose sessions
 * are still open on record. Begins with the sessions: a row that says that it is settled proves nothing.
 */
export function listOverdueInstances(
  tx: ReadTx,
  overdueMs: number,
): Promise<{ readonly node: string }[]> {
  return tx.many(
    `with ${open}
     select coalesce(i.node, 'unknown') as node
       from open o left join node_instance i on i.id = o.id
       where o.id is not null and (i.id is null
         or coalesce(i.ended_at, i.lease_until) < clock_timestamp() - $1 * interval '1 ms')
       order by coalesce(i.ended_at, i.lease_until) limit ${instancesMax}`,
    [overdueMs],
  )
}
