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

/**
 * Ends instances that have not renewed their lease in time; from now on the database refuses their
 * writes.
 *
 * An instance never ends itself, and ends no other while its own lease has run out. After a database outage
 * or a step of its clock, all leases have run out at once, and the first instance to look would end all.
 */
export function endExpiredInstances(tx: WriteTx, own: InstanceId): Promise<EndedInstance[]> {
  return tx.many(
    `update node_instance set ended_at = clock_timestamp(), ended = 'expired'
       where ended_at is null and lease_until < clock_timestamp() and id <> $1
         and exists (select from node_instance o
           where o.id = $1 and o.ended_at is null and o.lease_until >= clock_timestamp())
       returning id, node, ended_at as "endedAt"`,
    [own],
  )
}

/**
 * The ended instances whose sessions this one has to end: those that it has claimed, and those that
 * no instance with a lease has. Only one instance at a time repairs a recording.
 */
export function claimEndedInstances(tx: WriteTx, own: InstanceId): Promise<EndedInstance[]> {
  return tx.many(
    `update node_instance set recovered_by = $1
       where id in (
         select e.id from node_instance e
           where e.ended_at is not null and e.settled_at is null
             and (e.recovered_by is null or e.recovered_by = $1 or not exists (
               select from node_instance r where r.id = e.recovered_by and r.ended_at is null))
           order by e.ended_at limit ${instancesMax}
           for update skip locked)
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
 * All its sessions are ended. Does nothing while one is open, or a late transaction of the instance
 * may still commit one.
 */
export function settleInstance(tx: WriteTx, id: InstanceId): Promise<number> {
  return tx.run(
    `update node_instance i set settled_at = clock_timestamp()
       where id = $1 and settled_at is null and ended_at < clock_timestamp() - ${lateCommit}
         and not exists (select from session s where s.instance = i.id and s.ended_at is null)`,
    [id],
  )
}

/**
 * Instances that ended, or lost their lease, some time ago, and whose sessions are still open on
 * record. Asks for the sessions of each: a row that says that it is settled proves nothing.
 */
export function listOverdueInstances(
  tx: ReadTx,
  overdueMs: number,
): Promise<{ readonly node: string; readonly endedAt: Date }[]> {
  return tx.many(
    `select node, coalesce(ended_at, lease_until) as "endedAt" from node_instance i
       where coalesce(ended_at, lease_until) < clock_timestamp() - $1 * interval '1 ms'
         and exists (select from session s where s.instance = i.id and s.ended_at is null)
       order by 2 limit ${instancesMax}`,
    [overdueMs],
  )
}
