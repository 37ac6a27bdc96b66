/**
 * The targets on which a user may do anything at all, by names. Row-level security narrows every statement
 * here to the tenant of the transaction.
 */

import type { UserId } from '../auth/index.ts'
import type { ReadTx } from '../postgres/index.ts'
import { inForce } from './grant-queries.ts'
import type { TargetId } from './ids.ts'
import { type TargetRow, targetColumns } from './target-queries.ts'

/** One part for the user's own grants and one for those of their role: each is a range of an index. */
const grantsOf = (columns: string, where: string) =>
  ['$1::uuid::text', '(select u.role from app_user u where u.id = $1::uuid)'].map(
    (subject) =>
      `(select ${columns} from access_grant g where g.subject = ${subject} and ${where} and ${inForce})`,
  )
/** A row when the user may open every target. */
const every = `every as (${grantsOf('1', 'g.target_id is null').join(' union all ')} limit 1)`
/** The targets that a grant names. */
const named = `named as (${grantsOf('g.target_id', 'g.target_id is not null').join(' union ')})`
// The offset keeps the planner from reading all grants into a hash, to look for one of them.
const oneOf = grantsOf('1', 'g.target_id = t.id').map((part) => part.replace(/\)$/, ' offset 0)'))
const mayReach = `(exists (select from every) or exists ${oneOf.join(' or exists ')})`
const isReachable = '(exists (select from every) or t.id in (select target_id from named))'

/**
 * Up to max targets, by name if those are all. Reads only that many of them, because it is asked at
 * each login that names none.
 */
export function listSomeReachable(
  tx: ReadTx,
  user: UserId,
  max: number,
): Promise<{ readonly id: TargetId; readonly name: string }[]> {
  return tx.many(someReachable, [user, max])
}

const few = grantsOf('distinct g.target_id', 'g.target_id is not null')
  .map((part) => part.replace(/\)$/, ' order by g.target_id limit $2)'))
  .join(' union ')
const someReachable = `with ${every}, few as (${few})
  (select t.id, t.name from target t where exists (select from every) order by t.name limit $2)
  union all
  (select t.id, t.name from target t
     where not exists (select from every) and t.id in (select target_id from few)
     order by t.name limit $2)`

/** One page of names, in their order, from the one after a name on. */
export function listReachableNames(
  tx: ReadTx,
  user: UserId,
  page: { readonly after: string; readonly limit: number },
): Promise<{ readonly name: string }[]> {
  return tx.many(
    `with ${every}, ${named}
     select t.name from target t where t.name > $2 and ${isReachable} order by t.name limit $3`,
    [user, page.after, page.limit],
  )
}

/** The same of the names that contain a text: those that start with it come first. */
export function searchReachableNames(
  tx: ReadTx,
  user: UserId,
  page: { readonly search: string; readonly after: string; readonly limit: number },
): Promise<{ readonly name: string }[]> {
  return tx.many(
    `with ${every}, ${named}
     select t.name from target t
       where position($2 in t.name) > 0 and ${isReachable}
         and ($3 = '' or (not starts_with(t.name, $2), t.name) > (not starts_with($3, $2), $3))
       order by not starts_with(t.name, $2), t.name limit $4`,
    [user, page.search, page.after, page.limit],
  )
}

/** The number of targets whose name contains a text. */
export async function countReachable(tx: ReadTx, user: UserId, search: string): Promise<number> {
  const { count } = await tx.one<{ count: number }>(
    `with ${every}, ${named}
     select count(*) from target t where ($2 = '' or position($2 in t.name) > 0) and ${isReachable}`,
    [user, search],
  )
  return count
}

/** Where a user was last, the latest first, of their latest thousand sessions. */
export function listRecentReachable(
  tx: ReadTx,
  user: UserId,
  max: number,
): Promise<{ readonly name: string; readonly lastAt: Date }[]> {
  return tx.many(
    `with ${every}, recent as materialized (
       select target_id, max(started_at) as last_at from (
         select target_id, started_at from session where user_id = $1::uuid
           order by id desc limit 1000) s
       group by target_id order by last_at desc limit 100)
     select t.name, r.last_at as "lastAt" from recent r join target t on t.id = r.target_id
       where ${mayReach} order by r.last_at desc, t.name limit $2`,
    [user, max],
  )
}

/**
 * The reachable target that an address of a jump means: by one of its names, the first before the second,
 * at the port of SSH or its own; or by the host and port that it is registered with.
 */
export function findReachableAt(
  tx: ReadTx,
  user: UserId,
  address: { readonly names: readonly string[]; readonly host: string; readonly port: number },
): Promise<TargetRow | undefined> {
  return tx.maybe(reachableAt, [user, address.names, address.host, address.port])
}

// Each name is a look-up of its own, and an address is looked up only where no name was found.
const reachableAt = `with ${every},
  by_name as materialized (
    select t.id from unnest($2::text[]) with ordinality as n(name, place)
      cross join lateral (
        select t.id from target t
          where t.name = n.name and ($4 = 22 or t.port = $4) and ${mayReach} limit 1) t
      order by n.place limit 1),
  by_address as materialized (
    select t.id from target t
      where not exists (select from by_name) and t.address_host = $3 and t.port = $4 and ${mayReach}
      order by t.name limit 1)
  select ${targetColumns} from target t
    where t.id = (select id from by_name union all select id from by_address)`
