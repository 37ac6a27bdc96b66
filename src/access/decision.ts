import type { Identity } from '../auth/index.ts'
import type { ReadTx } from '../postgres/index.ts'
import { type Credential, readAskers } from './circumstances.ts'
import type { AccessAttempt, RefusalReason } from './denial.ts'
import { listRules, listRulesOnName } from './grant-queries.ts'
import { namesShownMax } from './names-shown.ts'
import { type Allowed, type Asker, decide, type Rule, refusePerson } from './policy.ts'
import { findReachableAt, listSomeReachable } from './reachable-queries.ts'
import { targetOf } from './target.ts'
import type { Target } from './target-fields.ts'
import { findTarget, listTargetsById, type TargetRow } from './target-queries.ts'

/** A decision about one target, with the target if there is one. */
export interface Decision {
  readonly answer:
    | (Allowed & { readonly user: Identity['user']; readonly tenantSlug: string })
    | RefusalReason
  readonly target: Target | undefined
  /** The stored target. Use it only after its tag is checked. */
  readonly row?: TargetRow
}

/** An address as the client of a jump gives it. */
export interface JumpAddress {
  readonly host: string
  /** 0 to 65535. */
  readonly port: number
}

export function credentialOf({ user, keyFingerprint, certificate }: Identity): Credential {
  return { id: user.id, keyFingerprint, ...(certificate && { certificate }) }
}

/**
 * Decides from the state that the transaction sees. All questions about a named target are asked at
 * once, in statements that read only rows of this user and this target.
 */
export async function decideNow(
  tx: ReadTx,
  identity: Identity,
  attempt: AccessAttempt,
): Promise<Decision> {
  if (attempt.target === undefined) return decideOnly(tx, identity, attempt)
  const [asker, rules, row] = await Promise.all([
    readAsker(tx, identity),
    listRulesOnName(tx, identity.user.id, attempt.target),
    findTarget(tx, attempt.target),
  ])
  return decideTarget({ asker, rules, attempt }, row)
}

/** Decides about the only target that the user may open. Several are a choice, which the user makes. */
async function decideOnly(
  tx: ReadTx,
  identity: Identity,
  attempt: AccessAttempt,
): Promise<Decision> {
  const { id } = identity.user
  const [asker, reachable] = await Promise.all([
    readAsker(tx, identity),
    listSomeReachable(tx, id, namesShownMax + 1),
  ])
  const refused = refusalOf(asker, new Date())
  if (refused !== undefined) return refused
  const [only] = reachable
  if (only === undefined) return { answer: { why: 'nothing' }, target: undefined }
  if (reachable.length > 1) {
    const targets = reachable.map(({ name }) => name).toSorted()
    return { answer: { why: 'choose', targets }, target: undefined }
  }
  const [rules, [row]] = await Promise.all([
    listRules(tx, [id], [only.id]),
    listTargetsById(tx, [only.id]),
  ])
  return decideTarget({ asker, rules, attempt }, row)
}

/**
 * Decides about a jump to the target at an address. undefined: the user may open no target there,
 * so the address is treated like any other.
 */
export async function decideJump(
  tx: ReadTx,
  identity: Identity,
  { host, port }: JumpAddress,
): Promise<Decision | undefined> {
  const name = host.toLowerCase().replace(/\.$/, '')
  const suffix = `.${identity.tenantSlug}`
  const names = name.endsWith(suffix) ? [name, name.slice(0, -suffix.length)] : [name]
  const [asker, row] = await Promise.all([
    readAsker(tx, identity),
    findReachableAt(tx, identity.user.id, { names, host: name, port }),
  ])
  if (row === undefined || refusalOf(asker, new Date()) !== undefined) return undefined
  const rules = await listRules(tx, [identity.user.id], [row.id])
  return decideTarget({ asker, rules, attempt: { target: row.name, kind: 'jump' } }, row)
}

async function readAsker(tx: ReadTx, identity: Identity): Promise<Asker> {
  const [asker] = await readAskers(tx, [credentialOf(identity)])
  if (asker === undefined) throw new Error('no such tenant')
  return asker
}

function refusalOf(asker: Asker, now: Date): Decision | undefined {
  const why = refusePerson(asker, now) ?? (asker.user === undefined ? 'no-user' : undefined)
  return why && { answer: { why }, target: undefined }
}

function decideTarget(
  about: {
    readonly asker: Asker
    readonly rules: readonly Rule[]
    readonly attempt: AccessAttempt
  },
  row: TargetRow | undefined,
): Decision {
  const { asker, rules, attempt } = about
  // The answers are here now. A statement may have waited for a lock, so a key that expired
  // meanwhile must be refused.
  const now = new Date()
  const { user, tenantSlug } = asker
  const refused = refusalOf(asker, now)
  if (refused !== undefined) return refused
  if (user === undefined) return { answer: { why: 'no-user' }, target: undefined }
  if (row === undefined) return { answer: { why: 'no-target' }, target: undefined }
  const target = targetOf(row)
  const { login, preferredLogin, kind, destination } = attempt
  const decided = decide(user, target, rules, { login, preferredLogin, kind, destination }, now)
  if (!('refused' in decided)) return { answer: { ...decided, user, tenantSlug }, target, row }
  const { name } = target
  switch (decided.refused) {
    case 'no-grant':
      return { answer: { why: 'no-grant' }, target }
    case 'no-kind':
    case 'no-destination':
      return { answer: { why: decided.refused, target: name }, target }
    case 'no-login':
      return { answer: { why: 'no-login', target: name, logins: decided.logins }, target }
  }
}
