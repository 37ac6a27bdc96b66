/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { Role, UserId } from '../auth/index.ts'
import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { ChannelKind } from './channel-kind.ts'
import type { TargetId } from './ids.ts'
import type { Rule } from './policy.ts'

export interface GrantRow extends Rule {
  readonly user: string | null
  readonly target: string | null
  readonly createdAt: Date
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
