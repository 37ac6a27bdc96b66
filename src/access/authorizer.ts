import { appendEvent } from '../audit/index.ts'
import type { Identity } from '../auth/index.ts'
import type { ErrorCode } from '../errors.ts'
import type { Database, ReadTx } from '../postgres/index.ts'
import type { Authorization, Mint, Minted } from './authorization.ts'
import { type Decision, decideJump, decideNow, type JumpAddress } from './decision.ts'
import { type Denial, denialOf, type RefusalReason, type Wish } from './denial.ts'
import { placeFields } from './forwarding.ts'
import type { AccessMetrics } from './metrics.ts'
import { namesShownMax } from './names-shown.ts'
import { listSomeReachable } from './reachable-queries.ts'
import { RefusalLimit } from './refusal-limit.ts'
import type { Target } from './target-fields.ts'
import { requireIntactTargets, type TargetVault } from './target-record.ts'

/** How the connection came that asks for a jump. */
export interface JumpOuter {
  /** It is itself inside a jump. */
  readonly isJump: boolean
  /** The target that its user name named. */
  readonly target?: string
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
      const refusal: RefusalReason = 'why' in answer ? answer : { why: 'nothing' }
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

  /**
   * Decides about a jump to the target at an address; outer says how the connection came that asks. A jump
   * inside a jump, or from a connection that is for another target, would pass a machine where nobody sees
   * what is done.
   */
  async authorizeJump(
    identity: Identity,
    address: JumpAddress,
    outer: JumpOuter,
  ): Promise<{ readonly target: Target } | Denial | undefined> {
    const decision = await this.#database.read(
      identity.tenant,
      (tx) => decideJump(tx, identity, address),
      { snapshot: true },
    )
    if (decision?.target === undefined) return undefined
    const { answer, target } = decision
    const wish: Wish = { target: target.name, kind: 'jump' }
    if (outer.isJump || (outer.target !== undefined && outer.target !== target.name)) {
      return this.#refuse(identity, wish, { why: 'chained', target: target.name }, target)
    }
    if ('why' in answer) return this.#refuse(identity, wish, answer, target)
    await this.#requireIntact(identity, decision)
    this.#metrics.authorizations.inc({ outcome: 'allowed' })
    return { target }
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

  /**
   * Whether what was allowed still is. Call it with the log's lock held: who takes access away takes
   * it too, and so either waits for this transaction or is seen by it.
   */
  async holds(tx: ReadTx, { authorization, identity, kind }: Minted): Promise<boolean> {
    const { target, login } = authorization
    const wish = { target: target.name, login, kind }
    const now = await decideNow(tx, identity, wish)
    if ('why' in now.answer || now.target === undefined) return false
    // A target that was removed and made anew under its name is another one, and so is one that was moved.
    return now.target.id === target.id && now.target.generation === target.generation
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
  async #decide(identity: Identity, wish: Wish): Promise<Decision> {
    const decision = await this.#database.read(
      identity.tenant,
      // All about a target that is named is asked at once.
      (tx) => decideNow(wish.target === undefined ? tx : tx.last(), identity, wish),
      { snapshot: true },
    )
    if (!('why' in decision.answer)) await this.#requireIntact(identity, decision)
    return decision
  }

  async #requireIntact({ tenant }: Identity, { row }: Decision): Promise<void> {
    if (row === undefined) throw new Error('an allowed target has a row')
    await requireIntactTargets(this.#vault, tenant, [row])
  }

  async #refuse(
    identity: Identity,
    wish: Wish,
    refusal: RefusalReason,
    target: Target | undefined,
  ): Promise<Denial> {
    const denial = denialOf(refusal, identity, wish)
    await this.#record(identity, wish, refusal.why, denial.code, target)
    if (refusal.why !== 'no-target' && refusal.why !== 'no-grant') return denial
    // Only now, so that it is on record whether or not this can be read.
    const reachable = await this.#database.read(identity.tenant, (tx) =>
      listSomeReachable(tx, identity.user.id, namesShownMax + 2),
    )
    const names = reachable.map(({ name }) => name).filter((name) => name !== wish.target)
    return denialOf(refusal, identity, wish, names.toSorted())
  }

  async #record(
    { tenant, user, keyFingerprint }: Identity,
    { target: targetName, login, kind, destination }: Wish,
    denied: string,
    code: ErrorCode,
    target: Target | undefined,
  ): Promise<void> {
    this.#metrics.authorizations.inc({ outcome: denied })
    if (!this.#refusals.take(tenant, user.id, Date.now())) {
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
