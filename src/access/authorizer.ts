import { appendEvent } from '../audit/index.ts'
import type { Identity } from '../auth/index.ts'
import type { ErrorCode } from '../errors.ts'
import type { Database, ReadTx } from '../postgres/index.ts'
import type { Authorization, Mint, Minted } from './authorization.ts'
import { type Decision, decideJump, decideNow, type JumpAddress } from './decision.ts'
import { type AccessAttempt, type Denial, denialOf, type RefusalReason } from './denial.ts'
import type { ForwardDestination } from './forward-pattern.ts'
import type { ForwardProblem } from './forward-problem.ts'
import { destinationFields } from './forwarding.ts'
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

/** A forward that is refused to everybody, and why. */
export interface ForwardRefusal {
  readonly problem: ForwardProblem
  /** The destination, or the address at which the target would listen. */
  readonly destination: ForwardDestination | undefined
}

/**
 * Decides which user may open which target, from the current state of the database; it remembers no
 * decision.
 */
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

  async authorize(identity: Identity, attempt: AccessAttempt): Promise<Authorization | Denial> {
    const { answer, target } = await this.#decide(identity, attempt)
    if ('why' in answer || target === undefined) {
      const refusal: RefusalReason = 'why' in answer ? answer : { why: 'nothing' }
      // A shell that names no target gets the menu: the person is refused nothing.
      if (refusal.why === 'choose' && attempt.kind === 'shell') {
        return denialOf(refusal, identity, attempt)
      }
      return this.#refuse(identity, attempt, refusal, target)
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
      kind: attempt.kind,
      grant,
    })
    this.#metrics.authorizations.inc({ outcome: 'allowed' })
    return authorization
  }

  /**
   * Decides about a jump to the target at an address; outer describes the connection that asks. A
   * jump inside a jump, or from a connection for another target, would pass through a machine where
   * it cannot be recorded.
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
    const attempt: AccessAttempt = { target: target.name, kind: 'jump' }
    if (outer.isJump || (outer.target !== undefined && outer.target !== target.name)) {
      return this.#refuse(identity, attempt, { why: 'chained', target: target.name }, target)
    }
    if ('why' in answer) return this.#refuse(identity, attempt, answer, target)
    await this.#requireIntact(identity, decision)
    this.#metrics.authorizations.inc({ outcome: 'allowed' })
    return { target }
  }

  /** Whether another channel may be opened in a running session. A denial is in the audit log. */
  async permit(identity: Identity, attempt: AccessAttempt): Promise<Denial | undefined> {
    const { answer, target } = await this.#decide(identity, attempt)
    if (!('why' in answer)) return undefined
    // OpenSSH asks for it before the menu is there to choose a target in: the person is refused nothing.
    if (answer.why === 'choose') return denialOf(answer, identity, attempt)
    return this.#refuse(identity, attempt, answer, target)
  }

  /** Puts on record that a user asked for a forward that is never allowed. */
  refuseForward(
    identity: Identity,
    attempt: AccessAttempt,
    target: Target,
    { problem, destination }: ForwardRefusal,
  ): Promise<Denial> {
    const why = 'no-forward'
    const refusal = { why, target: target.name, problem, destination } as const
    return this.#refuse(identity, attempt, refusal, target)
  }

  /**
   * Whether the authorization still holds. Call it with the log's lock held. A transaction that
   * takes access away takes the lock too, so it either waits for this one or is visible to it.
   */
  async holds(tx: ReadTx, { authorization, identity, kind }: Minted): Promise<boolean> {
    const { target, login } = authorization
    const attempt = { target: target.name, login, kind }
    const now = await decideNow(tx, identity, attempt)
    if ('why' in now.answer || now.target === undefined) return false
    // A target that was removed and added again under its name is a different one, and so is one
    // that was moved.
    return now.target.id === target.id && now.target.generation === target.generation
  }

  /** Puts on record that an authorization was revoked before it was used. */
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

  /**
   * Throws RecordChanged when the target would be opened but its row was changed outside VaultTerm.
   */
  async #decide(identity: Identity, attempt: AccessAttempt): Promise<Decision> {
    const decision = await this.#database.read(
      identity.tenant,
      // All about a target that is named is asked at once.
      (tx) => decideNow(attempt.target === undefined ? tx : tx.last(), identity, attempt),
      { snapshot: true },
    )
    if (!('why' in decision.answer)) await this.#requireIntact(identity, decision)
    return decision
  }

  async #requireIntact({ tenant }: Identity, { row }: Decision): Promise<void> {
    if (row === undefined) throw new Error('an allowed target has no row')
    await requireIntactTargets(this.#vault, tenant, [row])
  }

  async #refuse(
    identity: Identity,
    attempt: AccessAttempt,
    refusal: RefusalReason,
    target: Target | undefined,
  ): Promise<Denial> {
    const denial = denialOf(refusal, identity, attempt)
    await this.#record(identity, attempt, refusal.why, denial.code, target)
    // A mistyped jump is taken for a forward: its refusal names the targets, too.
    const mayBeJump = attempt.kind === 'forward' && refusal.why === 'no-kind'
    if (refusal.why !== 'no-target' && refusal.why !== 'no-grant' && !mayBeJump) return denial
    // Only now, so that the refusal is on record even if this cannot be read.
    const reachable = await this.#database.read(identity.tenant, (tx) =>
      listSomeReachable(tx, identity.user.id, namesShownMax + 2),
    )
    const names = reachable.map(({ name }) => name).filter((name) => name !== attempt.target)
    return denialOf(refusal, identity, attempt, names.toSorted())
  }

  async #record(
    { tenant, user, keyFingerprint }: Identity,
    { target: targetName, login, kind, destination }: AccessAttempt,
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
          ...destinationFields(destination),
        },
      }),
    )
  }
}
