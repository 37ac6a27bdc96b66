import type { UserId } from '../auth/index.ts'
import { standing } from '../ca/index.ts'
import type { ReadTx } from '../postgres/index.ts'
import { listRules } from './grant-queries.ts'
import type { TargetId } from './ids.ts'
import { listPeople, type PersonRow } from './people-queries.ts'
import type { Asker, Rule } from './policy.ts'

/** The user that asks, and their key. */
export interface Credential {
  readonly id: UserId
  readonly keyFingerprint: string
  /** The certificate of the key; the key itself is then not looked up. */
  readonly certificate?: {
    readonly generation: number
    readonly serial: string
    readonly keyId: string
    /** Absent for users who are already logged in: an expired key does not end their sessions. */
    readonly expiresAt?: string
  }
}

/** All facts for decisions about some people and some targets, in one transaction. */
export interface Circumstances {
  /** In the order of the question. */
  readonly askers: readonly Asker[]
  /** The grants in force on one of the targets, for one of the people or for a role that one of them has. */
  readonly rules: readonly Rule[]
}

/** Reads the circumstances of some people on some targets. The statements go out at once, and their number is fixed. */
export async function readCircumstances(
  tx: ReadTx,
  people: readonly Credential[],
  targets: readonly TargetId[],
): Promise<Circumstances> {
  const users = [...new Set(people.map(({ id }) => id))]
  const [askers, rules] = await Promise.all([readAskers(tx, people), listRules(tx, users, targets)])
  return { askers, rules }
}

/** The current facts about each person, in the order of the question. */
export async function readAskers(
  tx: ReadTx,
  people: readonly Credential[],
): Promise<readonly Asker[]> {
  const [good, rows] = await Promise.all([listGood(tx, people), listPeople(tx, people)])
  return rows.map((row, i) => askerOf(certified(row, people[i], good)))
}

/** The users whose certificate is still valid. */
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

/** A certificate replaces a registered key. */
function certified(
  row: PersonRow,
  person: Credential | undefined,
  good: ReadonlySet<Credential>,
): PersonRow {
  if (person?.certificate === undefined) return row
  const key = { expiresAt: person.certificate.expiresAt ?? null }
  return { ...row, key: good.has(person) ? key : null }
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
