import type { UserId } from '../auth/index.ts'
import { standing } from '../ca/index.ts'
import type { ReadTx } from '../postgres/index.ts'
import { type Asker, covers, type Rule } from './policy.ts'
import {
  type AskerRow,
  listPeople,
  listRules,
  listTargetsById,
  type PersonRow,
  type TargetRow,
} from './queries.ts'
import type { TargetId } from './target.ts'

/** Who asks with which key. */
export interface Person {
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

/** Somebody as they are now. */
export interface Known extends Asker {
  readonly tenantSlug: string
  readonly user: AskerRow | undefined
}

/** Everything that decides about some people of a tenant, as it stands in one transaction. */
export interface Circumstances {
  /** In the order in which they were asked about. */
  readonly askers: readonly Known[]
  /** Those that name one of them, or a role that one of them has. */
  readonly rules: readonly Rule[]
}

/** Reads the circumstances of some people, in a number of statements that does not grow with them, and at once. */
export async function readCircumstances(
  tx: ReadTx,
  people: readonly Person[],
): Promise<Circumstances> {
  const [good, rows, rules] = await Promise.all([
    listGood(tx, people),
    listPeople(tx, people),
    listRules(tx, [...new Set(people.map(({ id }) => id))]),
  ])
  return { askers: rows.map((row, i) => askerOf(certified(row, people[i], good))), rules }
}

/** Those whose certificate is still to be believed. */
async function listGood(tx: ReadTx, people: readonly Person[]): Promise<ReadonlySet<Person>> {
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
  person: Person | undefined,
  good: ReadonlySet<Person>,
): PersonRow {
  if (person?.certificate === undefined) return row
  const key = { expiresAt: person.certificate.expiresAt ?? null }
  return { ...row, key: good.has(person) ? key : null }
}

const reachableMax = 1000

/** The targets on which a user may do anything at all, by name. The rows are not checked yet. */
export async function listReachable(
  tx: ReadTx,
  user: AskerRow,
  rules: readonly Rule[],
  now: Date,
): Promise<readonly TargetRow[]> {
  const ids = new Set<TargetId | null>()
  for (const rule of rules) {
    // Asked about the very target that it names, a rule says whether it gives this user anything.
    if (covers(rule, user, rule.targetId, now)) ids.add(rule.targetId)
  }
  if (ids.size === 0) return []
  const named = ids.has(null) ? null : [...ids].filter((id) => id !== null)
  return listTargetsById(tx, named, reachableMax)
}

function askerOf({ slug, suspended, user, key }: PersonRow): Known {
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
