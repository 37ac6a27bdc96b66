import { appendEvent } from '../audit/index.ts'
import type { Identity } from '../auth/index.ts'
import type { ErrorCode } from '../errors.ts'
import type { Database, ReadTx } from '../postgres/index.ts'
import type { Authorization, Mint, Minted } from './authorization.ts'
import { listReachable, type Person, readCircumstances } from './circumstances.ts'
import { type Denial, denialOf, type Refusal, type Wish } from './denial.ts'
import { placeFields } from './forwarding.ts'
import type { AccessMetrics } from './metrics.ts'
import { type Allowed, decide, type Rule, refusePerson } from './policy.ts'
import { findTarget, type TargetRow } from './queries.ts'
import { RefusalLimit } from './refusal-limit.ts'
import { listRecentTargets } from './session-queries.ts'
import { type Target, targetOf } from './target.ts'
import { intactTargets, requireIntactTargets, type TargetVault } from './target-record.ts'

/** A target that somebody may choose. */
export interface TargetChoice {
  readonly name: string
  /** RFC 3339, UTC: when they were last there. */
  readonly lastAt?: string
}

interface Decided {
  readonly answer:
    | (Allowed & { readonly user: Identity['user']; readonly tenantSlug: string })
    | Refusal
  readonly target: Target | undefined
  /** The target as it is stored. Nothing is done with it before its tag is checked. */
  readonly row?: TargetRow
}

/** Decides who may open what, from what the database says now; nothing is remembered in between. */
export class Authorizer {
  readonly #database: Database
  readonly #vault: Pick<TargetVault, 'areIntact'>
  readonly #mint: Mint
  readonly #metrics: AccessMetrics
  readonly #refusals = new RefusalLimit()

  constructor(
    database: Database,
    vault: Pick<TargetVault, 'areIntact'>,
    mint: Mint,
    metrics: AccessMetrics,
  ) {
    this.#database = database
    this.#vault = vault
    this.#mint = mint
    this.#metrics = metrics
  }

  async authorize(identity: Identity, wish: Wish): Promise<Authorization | Denial> {
    const { answer, target } = await this.#decide(identity, wish)
    if ('why' in answer || target === undefined) {
      const refusal: Refusal = 'why' in answer ? answer : { why: 'nothing' }
      return this.#refuse(identity, wish, refusal, target)
    }
    const { user, tenantSlug, login, allow, grant } = answer
    const { tenant, keyFingerprint, certificate } = identity
    const forceCommand = certificate?.forceCommand
    const authorization = this.#mint.make({
      authorization: {
        tenant,
        tenantSlug,
        user,
        target,
        login,
        allow,
        keyFingerprint,
        ...(forceCommand === undefined ? {} : { forceCommand }),
      },
      identity,
      kind: wish.kind,
      grant,
    })
    this.#metrics.authorizations.inc({ outcome: 'allowed' })
    return authorization
  }

  /** The targets on which somebody may do anything at all, now, by name. */
  async reachable(identity: Identity): Promise<readonly Target[]> {
    const rows = await this.#database.read(
      identity.tenant,
      async (tx) => {
        const now = new Date()
        const { askers, rules } = await readCircumstances(tx, [personOf(identity)])
        const [asker] = askers
        if (asker?.user === undefined || refusePerson(asker, now) !== undefined) return []
        return listReachable(tx, asker.user, rules, now)
      },
      { snapshot: true },
    )
    return (await intactTargets(this.#vault, identity.tenant, rows)).map(targetOf)
  }

  /** The targets on which somebody may do anything at all, with when they were last there. */
  async choices(identity: Identity): Promise<readonly TargetChoice[]> {
    const [targets, recent] = await Promise.all([
      this.reachable(identity),
      this.#database.read(identity.tenant, (tx) => listRecentTargets(tx, identity.user.id)),
    ])
    const lastAt = new Map(recent.map((one) => [one.targetId, one.lastAt.toISOString()]))
    return targets.map(({ id, name }) => {
      const at = lastAt.get(id)
      return at === undefined ? { name } : { name, lastAt: at }
    })
  }

  /** Whether one more channel may be opened in a session that there is: a no is in the audit log. */
  async permit(identity: Identity, wish: Wish): Promise<Denial | undefined> {
    const { answer, target } = await this.#decide(identity, wish)
    return 'why' in answer ? this.#refuse(identity, wish, answer, target) : undefined
  }

  /** Puts on record that somebody asked for a forward that nobody gets. */
  refuseForward(identity: Identity, wish: Wish, target: Target): Promise<Denial> {
    return this.#refuse(identity, wish, { why: 'no-forward', target: target.name }, target)
  }

  /** Puts on record that somebody asked for a target by way of another one. */
  refuseChain(identity: Identity, target: Target): Promise<Denial> {
    const wish: Wish = { target: target.name, kind: 'jump' }
    return this.#refuse(identity, wish, { why: 'chained', target: target.name }, target)
  }

  /**
   * Whether what was allowed still is. Call it with the log's lock held: who takes access away takes
   * it too, and so either waits for this transaction or is seen by it.
   */
  async holds(tx: ReadTx, { authorization, identity, kind }: Minted): Promise<boolean> {
    const { target, login } = authorization
    const wish = { target: target.name, login, kind }
    const now = await decideNow(tx, identity, wish)
    if ('why' in now.answer || now.target === undefined) return false
    // A target that was removed and made anew under its name is another one.
    return now.target.id === target.id
  }

  /** Puts on record that what was allowed was taken away before it was used. */
  async refuseRevoked({ authorization, identity, kind }: Minted): Promise<void> {
    const { target, login } = authorization
    await this.#record(
      identity,
      { target: target.name, login, kind },
      'revoked',
      'ERR_ACCESS_REVOKED',
      target,
    )
  }

  /** Throws RecordChanged when the target would be opened, and somebody changed it in the database. */
  async #decide(identity: Identity, wish: Wish): Promise<Decided> {
    const decided = await this.#database.read(
      identity.tenant,
      // All about a target that is named is asked at once.
      (tx) => decideNow(wish.target === undefined ? tx : tx.last(), identity, wish),
      { snapshot: true },
    )
    const { row, answer } = decided
    if (row !== undefined && !('why' in answer)) {
      await requireIntactTargets(this.#vault, identity.tenant, [row])
    }
    return decided
  }

  async #refuse(
    identity: Identity,
    wish: Wish,
    refusal: Refusal,
    target: Target | undefined,
  ): Promise<Denial> {
    const denial = denialOf(refusal, identity, wish)
    await this.#record(identity, wish, refusal.why, denial.code, target)
    if (refusal.why !== 'no-target' && refusal.why !== 'no-grant') return denial
    // Only now, so that it is on record whether or not this can be read.
    const reachable = await this.reachable(identity)
    const names = reachable.map(({ name }) => name).filter((name) => name !== wish.target)
    return denialOf(refusal, identity, wish, names)
  }

  async #record(
    { tenant, user, keyFingerprint }: Identity,
    { target: targetName, login, kind, destination }: Wish,
    denied: string,
    code: ErrorCode,
    target: Target | undefined,
  ): Promise<void> {
    this.#metrics.authorizations.inc({ outcome: denied })
    if (!this.#refusals.take(`${tenant} ${user.id}`, Date.now())) {
      this.#metrics.refusalsUnlogged.inc()
      return
    }
    await this.#database.write(tenant, (tx) =>
      appendEvent(tx, {
        type: 'session.refused',
        public: {
          user: user.id,
          target: target?.id,
          kind,
          denied,
          code,
          fingerprint: keyFingerprint,
        },
        private: {
          userName: user.name,
          targetName,
          login,
          ...placeFields(destination),
        },
      }),
    )
  }
}

function personOf({ user, keyFingerprint, certificate }: Identity): Person {
  return { id: user.id, keyFingerprint, ...(certificate && { certificate }) }
}

/** Of a target that is named, one turn asks everything. */
async function decideNow(tx: ReadTx, identity: Identity, wish: Wish): Promise<Decided> {
  const [{ askers, rules }, row] = await Promise.all([
    readCircumstances(tx, [personOf(identity)]),
    wish.target === undefined ? undefined : findTarget(tx, wish.target),
  ])
  // Once it is answered: what is asked may wait for a lock, and what runs out meanwhile is over.
  const now = new Date()
  const [asker] = askers
  if (asker === undefined) throw new Error('no such tenant')
  const refused = refusePerson(asker, now)
  if (refused !== undefined || asker.user === undefined) {
    return { answer: { why: refused ?? 'no-user' }, target: undefined }
  }
  const { user, tenantSlug } = asker
  const about = { user, tenantSlug, rules, wish, now }
  if (wish.target === undefined) {
    const reachable = await listReachable(tx, user, rules, now)
    const [only] = reachable
    const targets = reachable.map(({ name }) => name)
    if (only === undefined) return { answer: { why: 'nothing' }, target: undefined }
    if (reachable.length > 1) return { answer: { why: 'choose', targets }, target: undefined }
    return { ...decideTarget(targetOf(only), about), row: only }
  }
  if (row !== undefined) return { ...decideTarget(targetOf(row), about), row }
  return { answer: { why: 'no-target' }, target: undefined }
}

function decideTarget(
  target: Target,
  about: {
    readonly user: Identity['user']
    readonly tenantSlug: string
    readonly rules: readonly Rule[]
    readonly wish: Wish
    readonly now: Date
  },
): Decided {
  const { user, tenantSlug, rules, now } = about
  const { login, preferredLogin, kind, destination } = about.wish
  const request = { login, preferredLogin, kind, destination }
  const decision = decide(user, target, rules, request, now)
  if (!('refused' in decision)) return { answer: { ...decision, user, tenantSlug }, target }
  const { name } = target
  switch (decision.refused) {
    case 'no-grant':
      return { answer: { why: 'no-grant' }, target }
    case 'no-kind':
    case 'no-destination':
      return { answer: { why: decision.refused, target: name }, target }
    case 'no-login':
      return { answer: { why: 'no-login', target: name, logins: decision.logins }, target }
  }
}
