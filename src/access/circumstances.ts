import type { UserId } from '../auth/index.ts'
import type { ReadTx } from '../postgres/index.ts'
import { type Asker, covers, type Rule } from './policy.ts'
import {
  type AskerRow,
  findOwnTenant,
  type KeyRow,
  listAskers,
  listAskersKeys,
  listRules,
  listTargetsById,
} from './queries.ts'
import { type Target, type TargetId, targetOf } from './target.ts'

/** Who asks with which key. */
export interface Person {
  readonly id: UserId
  readonly keyFingerprint: string
}

/** Everything that decides about some people of a tenant, as it stands in one transaction. */
export interface Circumstances {
  readonly tenantSlug: string
  readonly rules: readonly Rule[]
  asker(person: Person): Asker & { readonly user: AskerRow | undefined }
}

/** Reads the circumstances of some people, in a number of statements that does not grow with them. */
export async function readCircumstances(
  tx: ReadTx,
  people: readonly Person[],
): Promise<Circumstances> {
  const { slug, suspended } = await findOwnTenant(tx)
  const users = await listAskers(tx, [...new Set(people.map(({ id }) => id))])
  const keys = await listAskersKeys(tx, [
    ...new Set(people.map(({ keyFingerprint }) => keyFingerprint)),
  ])
  const roles = [...new Set(users.map(({ role }) => role))]
  const rules = await listRules(
    tx,
    users.map(({ id }) => id),
    roles,
  )
  const usersById = new Map(users.map((user) => [user.id, user]))
  const keysByFingerprint = new Map(keys.map((key) => [key.fingerprint, key]))
  return {
    tenantSlug: slug,
    rules,
    asker: ({ id, keyFingerprint }) => ({
      user: usersById.get(id),
      key: keyOf(keysByFingerprint.get(keyFingerprint), id),
      suspended,
    }),
  }
}

const reachableMax = 1000

/** The targets on which a user may do anything at all, by name. */
export async function listReachable(
  tx: ReadTx,
  user: AskerRow,
  rules: readonly Rule[],
  now: Date,
): Promise<readonly Target[]> {
  const ids = new Set<TargetId | null>()
  for (const rule of rules) {
    // Asked about the very target that it names, a rule says whether it gives this user anything.
    if (covers(rule, user, rule.targetId, now)) ids.add(rule.targetId)
  }
  if (ids.size === 0) return []
  const named = ids.has(null) ? null : [...ids].filter((id) => id !== null)
  return (await listTargetsById(tx, named, reachableMax)).map(targetOf)
}

function keyOf(row: KeyRow | undefined, user: UserId): Asker['key'] {
  if (row === undefined || row.userId !== user) return undefined
  return { expiresAt: row.expiresAt ?? undefined }
}
