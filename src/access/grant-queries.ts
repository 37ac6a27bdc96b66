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

/** An expired grant allows nothing. */
export const inForce = 'g.ends_at > now()'

/** A grant is a user's or a role's. These are the subjects of some users, with the roles that they have now. */
const subjects = `any($1::uuid[]::text[]
  || array(select u.role from app_user u where u.id = any($1::uuid[])))`

/**
 * The grants in force for some subjects, on every target or on some. In two parts, each of them one range of
 * an index: a condition with `or` would read all of a subject's.
 */
function selectRules(targets: string): string {
  const parts = ['g.target_id is null', `g.target_id = any(${targets})`].map(
    (where) =>
      `select g.* from access_grant g where g.subject = ${subjects} and ${where} and ${inForce}`,
  )
  return `select ${ruleColumns} from (${parts.join(' union all ')}) g order by g.created_at, g.id`
}

const rulesOnIds = selectRules('$2::uuid[]')
const rulesOnName = selectRules('array(select t.id from target t where t.name = $2)')

export function listRules(
  tx: ReadTx,
  users: readonly UserId[],
  targets: readonly TargetId[],
): Promise<Rule[]> {
  return tx.many(rulesOnIds, [users, targets])
}

/** The same for a target that is known by its name. */
export function listRulesOnName(tx: ReadTx, user: UserId, target: string): Promise<Rule[]> {
  return tx.many(rulesOnName, [[user], target])
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
