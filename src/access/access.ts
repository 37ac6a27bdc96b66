import type { Actor, Identity, WebIdentity } from '../auth/index.ts'
import { bootClockMs } from '../boot-clock.ts'
import type { Ca } from '../ca/index.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Database, NodeLease, TenantId } from '../postgres/index.ts'
import type { KeptWitness, RecordingPoint, SessionId, Unended } from '../recorder/index.ts'
import type { LiveRegistry } from '../redis/index.ts'
import type { KeyLease, Vault } from '../vault/index.ts'
import { type Authorization, Mint } from './authorization.ts'
import { Authorizer, type ForwardRefusal, type JumpOuter } from './authorizer.ts'
import type { Act } from './can.ts'
import type { ChannelKind } from './channel-kind.ts'
import { type ChoicePage, type ChoiceQuery, listChoices, listChoicesFor } from './choices.ts'
import type { JumpAddress } from './decision.ts'
import type { AccessAttempt, Denial } from './denial.ts'
import { NodeLeaseLapsed } from './errors.ts'
import { type FileOperation, recordFiles } from './files.ts'
import { closeForward, type Forward, type ForwardOutcome, openForward } from './forwarding.ts'
import { createGrants, type Grants } from './grant.ts'
import { isHostKeyOf } from './host-key.ts'
import { type KillListener, type KillResult, Kills } from './kill.ts'
import { LiveSessions } from './live-sessions.ts'
import type { MendRecording } from './mends.ts'
import { accessMetrics } from './metrics.ts'
import { OwedWork } from './owed-work.ts'
import { Recovery } from './recovery.ts'
import { type SessionOutcome, Sessions } from './session.ts'
import type { SessionStart } from './session-start.ts'
import { type Session, type SessionList, SessionViews } from './session-views.ts'
import { createTargets, type Targets } from './target.ts'
import type { Target } from './target-fields.ts'
import { findWitness } from './witness-queries.ts'
import { Witnesses } from './witnesses.ts'

export interface Access extends Targets, Grants {
  /**
   * Decides whether a user may open a target, from the current state of the database. The only
   * maker of an Authorization. A denial is in the audit log, with its reason.
   */
  authorize(identity: Identity, attempt: AccessAttempt): Promise<Authorization | Denial>
  /**
   * Decides about a jump (`ssh -J`) to the target at an address. undefined: this user may open no
   * target there, so the address is treated like any other. A denial is in the audit log.
   */
  authorizeJump(
    identity: Identity,
    address: JumpAddress,
    outer: JumpOuter,
  ): Promise<{ readonly target: Target } | Denial | undefined>
  /** One page of the targets on which the user has any rights now. */
  listChoices(identity: Identity, query: ChoiceQuery): Promise<ChoicePage>
  /** The same for a user who is signed in to the pages. */
  listChoicesFor(person: WebIdentity, query: ChoiceQuery): Promise<ChoicePage>
  /** Whether another channel may be opened in a running session. A denial is in the audit log. */
  permit(identity: Identity, attempt: AccessAttempt): Promise<Denial | undefined>
  /** Makes the denial of a forward that is never allowed, and puts it on record. */
  refuseForward(
    identity: Identity,
    attempt: AccessAttempt,
    target: Target,
    refusal: ForwardRefusal,
  ): Promise<Denial>
  /**
   * From now on, a loss of access ends this forward too. Call it before the forward is permitted.
   * It is forgotten when it is closed, when its session ends, and by forgetForward.
   */
  expectForward(forward: Forward): void
  /** It is not opened. */
  forgetForward(forward: Forward): void
  /** Puts a forward on record. Open it only after this resolves. */
  openForward(identity: Identity, authorization: Authorization, forward: Forward): Promise<void>
  /** Puts file operations of a session on record, all of them or none. */
  recordFiles(
    identity: Identity,
    authorization: Authorization,
    session: SessionId,
    operations: readonly FileOperation[],
  ): Promise<void>
  closeForward(
    identity: Identity,
    authorization: Authorization,
    forward: Forward,
    outcome: ForwardOutcome,
  ): Promise<void>
  /**
   * Puts a session on record; the target must not be touched before this resolves. An authorization
   * starts one session. Throws AuthorizationInvalid, AccessRevoked when the access was taken away,
   * and NodeLeaseLapsed while this process must not serve.
   */
  startSession(
    authorization: Authorization,
    start: SessionStart,
  ): Promise<{ readonly session: SessionId }>
  /** Has the vault promise one signature, for this session's login, by the key that its target expects. Throws AuthorizationInvalid. */
  leaseKey(authorization: Authorization, session: SessionId): Promise<KeyLease>
  /**
   * Whether a host key, or a host certificate, is valid for the target of an authorization. Throws
   * AuthorizationInvalid.
   */
  checkHostKey(authorization: Authorization, blob: Buffer): Promise<boolean>
  /** The target accepted us. */
  upstreamOpened(authorization: Authorization, session: SessionId): Promise<void>
  /** Puts a session's end on record, once: later calls change nothing. */
  endSession(session: SessionId, outcome: SessionOutcome): Promise<void>
  /** Marks a session of any tenant to be ended, and notifies its node. */
  killSession(session: string, actor: Actor, reason?: string): Promise<KillResult>
  /**
   * Calls back for each session of this process that must end: it was killed, or its user, key,
   * target, grant or tenant no longer allows it. Also calls back for each forward in other sessions
   * that is no longer permitted. It may be called twice for one. The result closes the
   * subscription.
   */
  onKill(listener: KillListener): Promise<() => Promise<void>>
  /** Every session of a tenant, newest first: for operators only. */
  sessions(tenant: TenantId, list?: SessionList): Promise<readonly Session[]>
  /** For operators only. */
  session(tenant: TenantId, id: string): Promise<Session | undefined>
  /** In any tenant: for operators only. */
  findSession(id: string): Promise<Session | undefined>
  /** The sessions that a signed-in person may see with the role that they have now, newest first. */
  sessionsFor(person: WebIdentity, list?: SessionList): Promise<readonly Session[]>
  /** undefined where the person may not do the act, and where there is no such session. */
  sessionFor(person: WebIdentity, act: Act, id: string): Promise<Session | undefined>
  /**
   * Marks a session to be ended, if the person may do that with the role that they have now. 'unknown' where
   * they may not, and where there is no such session.
   */
  killSessionFor(
    person: WebIdentity,
    session: string,
    reason: string,
    actor: Actor,
  ): Promise<KillResult>
  /** Remembers a worker's report about a live session's recording while it grows. */
  witnessRecording(session: SessionId, point: RecordingPoint): void
  /** The witness of a recording; undefined if there is none. */
  recordingWitness(tenant: TenantId, session: SessionId): Promise<KeptWitness | undefined>
  /**
   * Ends sessions of a worker that died, with their remaining recordings. Resolves when they are on
   * record. Sessions of a tenant whose log cannot be written now are tried again.
   */
  interruptSessions(sessions: readonly Unended[], mend: MendRecording): Promise<void>
  /**
   * From here on, sessions that start belong to the lease's instance, and this process ends those of
   * instances that have lost theirs. Close it with the answer.
   */
  serveUnder(lease: NodeLease, leaseMs: number, mend: MendRecording): () => Promise<void>
  /** The process that ends this one's sessions writes the remaining ends. */
  close(): Promise<void>
}

export interface AccessDeps {
  readonly database: Database
  readonly vault: Pick<Vault, 'lease' | 'tagging' | 'areIntact'>
  readonly ca: Pick<Ca, 'leaseUpstream' | 'trust'>
  readonly registry: LiveRegistry | undefined
  readonly log: Log
  readonly metrics: Metrics
}

const leaseMs = 30_000
/** Recordings that are read after the ends of their sessions; the hourly look finds those beyond. */
const lateMax = 1000
/** In the order in which certificates have them. */
const permits: readonly (readonly [kind: ChannelKind, permit: string])[] = [
  ['x11', 'permit-X11-forwarding'],
  ['agent', 'permit-agent-forwarding'],
  ['forward', 'permit-port-forwarding'],
  ['shell', 'permit-pty'],
]

export function createAccess({ database, vault, ca, registry, ...rest }: AccessDeps): Access {
  const log = rest.log.child({ module: 'access' })
  const metrics = accessMetrics(rest.metrics)
  const mint = new Mint()
  const authorizer = new Authorizer(database, vault, mint, metrics)
  const live = new LiveSessions(registry, log, metrics)
  const owed = new OwedWork(log, metrics)
  // Each takes long, so a tenant's turn is one.
  const late = new OwedWork(log, { ...metrics, owed: metrics.owedRecordings }, lateMax, 1)
  const witnesses = new Witnesses(database, log)
  const sessions = new Sessions({ database, mint, authorizer, live, owed, witnesses, log })
  const recovery = new Recovery({ database, live, owed, late, witnesses, log, metrics })
  const views = new SessionViews(database)
  let lease: NodeLease | undefined
  const kills = new Kills({ database, live, log, metrics, instance: () => lease?.instance })

  async function leaseKey(given: Authorization, session: SessionId): Promise<KeyLease> {
    const { authorization } = mint.checkSession(given, session)
    const { tenant, login, target, user, allow, forceCommand } = authorization
    const [hostKey, ...others] = target.hostKeys
    const lease = {
      login,
      session,
      purpose: 'upstream',
      expiresInMs: leaseMs,
      // If another key may have been shown, the dial knows which one.
      ...(hostKey !== undefined &&
        others.length === 0 &&
        !target.hostCertified && { hostKey: hostKey.blob }),
    } as const
    if (target.auth === 'key') return vault.lease(tenant, { ...lease, name: 'admin_ssh' })
    return ca.leaseUpstream(tenant, {
      ...lease,
      target: target.id,
      user: user.id,
      permits: permitsOf(allow),
      ...(forceCommand === undefined ? {} : { forceCommand }),
    })
  }

  async function checkHostKey(given: Authorization, blob: Buffer): Promise<boolean> {
    const { tenant: id, tenantSlug: slug, target } = mint.check(given).authorization
    return isHostKeyOf(database, ca, { id, slug }, target, blob)
  }

  return {
    ...createTargets(database, vault),
    ...createGrants(database),
    authorize: (identity, attempt) => authorizer.authorize(identity, attempt),
    authorizeJump: (identity, address, outer) => authorizer.authorizeJump(identity, address, outer),
    listChoices: (identity, query) => listChoices(database, identity, query),
    listChoicesFor: (person, query) => listChoicesFor(database, person, query),
    permit: (identity, attempt) => authorizer.permit(identity, attempt),
    refuseForward: (identity, attempt, target, refusal) =>
      authorizer.refuseForward(identity, attempt, target, refusal),
    openForward: (identity, authorization, forward) =>
      openForward(database, identity, authorization, forward),
    recordFiles: (identity, authorization, session, operations) =>
      recordFiles(database, identity, authorization, session, operations),
    expectForward: (forward) => live.expectForward(forward),
    forgetForward: (forward) => live.removeForward(forward),
    closeForward(identity, authorization, forward, outcome) {
      live.removeForward(forward)
      return closeForward(database, identity, authorization, forward, outcome)
    },
    async startSession(authorization, start) {
      if (lease !== undefined && bootClockMs() >= lease.serveUntilMs) throw new NodeLeaseLapsed()
      return sessions.start(authorization, start)
    },
    leaseKey,
    checkHostKey,
    upstreamOpened: (authorization, session) => sessions.opened(authorization, session),
    endSession: (session, outcome) => sessions.end(session, outcome),
    killSession: (session, actor, reason) => kills.kill(session, actor, reason),
    onKill: (listener) => kills.onKill(listener),
    sessions: (tenant, list = {}) => views.list(tenant, list),
    session: (tenant, id) => views.find(tenant, id),
    findSession: (id) => views.findAnywhere(id),
    sessionsFor: (person, list = {}) => views.listFor(person, list),
    sessionFor: (person, act, id) => views.findFor(person, act, id),
    async killSessionFor(person, id, reason, actor) {
      const session = await views.findFor(person, 'session.end', id)
      if (session === undefined) return 'unknown'
      return kills.killIn(person.tenant, session.id, actor, reason)
    },
    witnessRecording(session, point) {
      const tenant = live.tenantOf(session)
      if (tenant !== undefined) witnesses.add(tenant, session, point)
    },
    async recordingWitness(tenant, session) {
      return (await database.read(tenant, (tx) => findWitness(tx, session)))?.kept
    },
    interruptSessions(unended, mend) {
      for (const { session } of unended) mint.forgetSession(session)
      return recovery.interrupt(unended, mend)
    },
    serveUnder(held, leaseMs, mend) {
      lease = held
      return recovery.start(held, leaseMs, mend)
    },
    async close() {
      owed.close()
      late.close()
      witnesses.close()
      await witnesses.save()
    },
  }
}

/** The permissions for a certificate on a target: at most those of the grant. */
function permitsOf(allow: readonly ChannelKind[]): readonly string[] {
  return permits.filter(([kind]) => allow.includes(kind)).map(([, permit]) => permit)
}
