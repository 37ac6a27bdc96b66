import type { Person, UserId } from '../auth/index.ts'
import { standing } from '../ca/index.ts'
import type { ReadTx } from '../postgres/index.ts'
import { listRules } from './grant-queries.ts'
import type { TargetId } from './ids.ts'
import { listPeople, type PersonRow } from './people-queries.ts'
import { type Asker, covers, type Rule } from './policy.ts'
import { type Target, targetOf } from './target.ts'
import { listTargetsById } from './target-queries.ts'

/** Who asks with which key. */
export interface Credential {
  readonly id: UserId
  readonly keyFingerprint: string
  /** With which the key came; the key by itself is then not asked about. */
  readonly certificate?: {
    readonly generation: number
    readonly serial: string
    readonly keyId: string
    /** Unknown for those who are in already: it cuts nothing off. */
    readonly expiresAt?: string
  }
}

/** Everything that decides about some people of a tenant, as it stands in one transaction. */
export interface Circumstances {
  /** In the order in which they were asked about. */
  readonly askers: readonly Asker[]
  /** Those that name one of them, or a role that one of them has. */
  readonly rules: readonly Rule[]
}

/** Reads the circumstances of some people, in a number of statements that does not grow with them, and at once. */
export async function readCircumstances(
  tx: ReadTx,
  people: readonly Credential[],
): Promise<Circumstances> {
  const [good, rows, rules] = await Promise.all([
    listGood(tx, people),
    listPeople(tx, people),
    listRules(tx, [...new Set(people.map(({ id }) => id))]),
  ])
  return { askers: rows.map((row, i) => askerOf(certified(row, people[i], good))), rules }
}

/** Those whose certificate is still to be believed. */
async function listGood(
  tx: ReadTx,
  people: readonly Credential[],
): Promise<ReadonlySet<Credential>> {
  const certified = people.flatMap((person) => {
    const { certificate, keyFingerprint: fingerprint } = person
    return certificate === undefined ? [] : [{ person, name: { ...certificate, fingerprint } }]
  })
  if (certified.length === 0) return new Set()
  const good = await standing(
    tx,
    certified.map(({ name }) => name),
  )
  return new Set(certified.filter((_, i) => good[i] === true).map(({ person }) => person))
}

/** A certificate stands in the place of a registered key. */
function certified(
  row: PersonRow,
  person: Credential | undefined,
  good: ReadonlySet<Credential>,
): PersonRow {
  if (person?.certificate === undefined) return row
  const key = { expiresAt: person.certificate.expiresAt ?? null }
  return { ...row, key: good.has(person) ? key : null }
}

const reachableMax = 1000

/** The targets on which a user may do anything at all, by name. */
export async function listReachable(
  tx: ReadTx,
  user: Person,
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

function askerOf({ slug, suspended, user, key }: PersonRow): Asker {
  const expiresAt = key?.expiresAt ?? undefined
  return {
    tenantSlug: slug,
    suspended,
    user: user ?? undefined,
    key:
      key === null
        ? undefined
        : { expiresAt: expiresAt === undefined ? undefined : new Date(expiresAt) },
  }
}
