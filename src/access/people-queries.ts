/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { Person, UserId } from '../auth/index.ts'
import type { ReadTx } from '../postgres/index.ts'

/** A requested row: fields of removed rows are null. */
export interface PersonRow {
  readonly slug: string
  readonly suspended: boolean
  readonly user: Person | null
  readonly key: { readonly expiresAt: string | null } | null
}

/** One row for each person, in their order: the tenant, the user, and the key when it is theirs and not revoked. */
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
         and not exists (select from certificate_revocation r where r.tenant_id = k.tenant_id
           and r.kind = 'user' and coalesce(r.generation, 0) = 0 and coalesce(r.serial, 0) = 0
           and coalesce(r.key_id, '') = '' and coalesce(r.fingerprint, '') = k.fingerprint)
     where t.tenant_id = app_tenant_id()
     order by p.place`,
    [people.map(({ id }) => id), people.map(({ keyFingerprint }) => keyFingerprint)],
  )
}

export function findUserByName(tx: ReadTx, name: string): Promise<Person | undefined> {
  return tx.maybe('select id, name, role from app_user where name = $1', [name])
}

/** A user by their id, with the role that they have now, unless their tenant is suspended. */
export function findActiveUser(tx: ReadTx, id: UserId): Promise<Person | undefined> {
  return tx.maybe(
    `select u.id, u.name, u.role from app_user u join tenant t on t.tenant_id = u.tenant_id
       where u.id = $1 and t.suspended_at is null`,
    [id],
  )
}
