import { z } from 'zod'
import { type AuditEvent, appendEvent } from '../audit/index.ts'
import type { Actor } from '../auth/index.ts'
import { background, type Log } from '../log.ts'
import { type Database, parseTenantId, type TenantId, type WriteTx } from '../postgres/index.ts'
import { parseSessionId, type SessionId } from '../recorder/index.ts'
import { type Known, type Person, readCircumstances } from './circumstances.ts'
import { type Forward, forwardWish } from './forwarding.ts'
import type { LiveSessions } from './live-sessions.ts'
import type { AccessMetrics } from './metrics.ts'
import { decide, type Request, type Rule, refuseStay } from './policy.ts'
import { listTargetsById } from './queries.ts'
import { sessionKilled } from './session-events.ts'
import {
  findSession,
  findSessionTenant,
  listKilled,
  listUnmarked,
  notify,
  type SessionRow,
  setKilled,
} from './session-queries.ts'
import { storedText } from './stored-text.ts'
import { type Target, targetOf } from './target.ts'

/** Ends what this process has open and nobody may have open any more. */
export interface KillListener {
  /** A session, whose user is told why. */
  session(session: SessionId, reason: string): void
  /** One forward of a session that goes on. */
  forward(forward: string, reason: string): void
}

export type KillResult = 'killed' | 'not-live' | 'unknown'

const killChannel = 'vaultterm_session_kill'
/** Triggers on everything that access stands on notify here, with the tenant. */
const changeChannel = 'vaultterm_access_change'

const reasonMax = 200
const lookMs = 15_000
const system: Actor = { kind: 'system', id: 'access', name: 'VaultTerm' }

const payloadShape = z.object({ tenant: z.string(), session: z.string(), reason: z.string() })

/** What must end, each with why. */
interface Baseless {
  readonly sessions: ReadonlyMap<SessionId, string>
  readonly forwards: ReadonlyMap<string, string>
}

/**
 * Ends sessions that their users would go on with: an operator wants it, or what they stood on is
 * gone. The mark is in the database, so a node that missed the word finds it there. A forward that is
 * not allowed any more ends without its session, where that one is; only the node that has it knows of
 * it, and so it has no mark.
 */
export class Kills {
  readonly #database: Database
  readonly #live: LiveSessions
  readonly #log: Log
  readonly #metrics: AccessMetrics
  /** Tenants that are being looked at, and whether once more is wanted after that. */
  readonly #looking = new Map<TenantId, boolean>()

  constructor(deps: {
    readonly database: Database
    readonly live: LiveSessions
    readonly log: Log
    readonly metrics: AccessMetrics
  }) {
    this.#database = deps.database
    this.#live = deps.live
    this.#log = deps.log
    this.#metrics = deps.metrics
  }

  async kill(
    id: string,
    actor: Actor,
    reason = 'an operator ended this session',
  ): Promise<KillResult> {
    const session = parseSessionId(id)
    if (session === undefined) return 'unknown'
    const found = await this.#database.system((tx) => findSessionTenant(tx, session))
    if (found === undefined) return 'unknown'
    const { tenant } = found
    const why = storedText(reason, reasonMax)
    return this.#database.write(tenant, async (tx) => {
      const [row] = await setKilled(tx, [session], why)
      const marked = row ?? (await findSession(tx, session))
      if (marked === undefined || marked.endedAt !== null) return 'not-live'
      // Told again when it was marked before: whoever asks twice sees that it goes on.
      await notify(tx, killChannel, formatPayload(tenant, session, marked.killReason ?? why))
      if (row !== undefined) {
        await appendEvent(tx, sessionKilled(row, why, actor))
        this.#metrics.kills.inc({ why: 'asked' })
      }
      return 'killed'
    })
  }

  /** Until the answer is called, the listener hears of each session of this process that must end. */
  async onKill(listener: KillListener): Promise<() => Promise<void>> {
    const tell: KillListener = {
      session: (session, reason) => {
        if (this.#live.has(session)) listener.session(session, reason)
      },
      forward: (forward, reason) => listener.forward(forward, reason),
    }
    const lookAll = () =>
      background(this.#lookAll(tell), this.#log, 'a look for sessions that must end')
    const kills = await this.#database.listen(killChannel, (payload) => {
      if (payload === undefined) return lookAll()
      const parsed = parsePayload(payload)
      if (parsed === undefined) this.#log.warn('a notification to end a session was not understood')
      else tell.session(parsed.session, parsed.reason)
    })
    const changes = await this.#database.listen(changeChannel, (payload) => {
      const tenant = payload === undefined ? undefined : parseTenantId(payload)
      if (tenant === undefined) lookAll()
      else background(this.#lookOnce(tenant, tell), this.#log, 'a look for sessions that must end')
    })
    // For what ends without anybody doing anything: a grant that runs out.
    const timer = setInterval(lookAll, lookMs).unref()
    return async () => {
      clearInterval(timer)
      await kills.close()
      await changes.close()
    }
  }

  async #lookAll(tell: KillListener): Promise<void> {
    for (const tenant of this.#live.tenants()) await this.#lookOnce(tenant, tell)
  }

  /** One look at a time: a hundred changes that come while it runs are one more look. */
  async #lookOnce(tenant: TenantId, tell: KillListener): Promise<void> {
    const running = this.#looking.has(tenant)
    this.#looking.set(tenant, running)
    if (running) return
    try {
      do {
        this.#looking.set(tenant, false)
        await this.#look(tenant, tell)
      } while (this.#looking.get(tenant) === true)
    } finally {
      this.#looking.delete(tenant)
    }
  }

  /** Of this process's sessions of a tenant, ends those that are marked or have nothing to stand on. */
  async #look(tenant: TenantId, tell: KillListener): Promise<void> {
    const ids = this.#live.of(tenant)
    if (ids.length === 0) return
    // Before what decides about them is read: those that come later are decided about by what is newer.
    const forwards = this.#live.forwardsOf(tenant)
    try {
      const look = async (tx: WriteTx) => {
        const baseless = await findBaseless(tx, ids, forwards)
        const marked = await markBaseless(tx, baseless.sessions)
        return { sessions: await listKilled(tx, ids), forwards: baseless.forwards, marked }
      }
      const doomed = await this.#database.write(tenant, look, { retry: true })
      this.#metrics.kills.inc({ why: 'baseless' }, doomed.marked)
      for (const { id, reason } of doomed.sessions) tell.session(id, reason)
      for (const [id, reason] of doomed.forwards) tell.forward(id, reason)
    } catch (err) {
      // The database is away, or busy: the next look is not far.
      this.#log.warn({ err, tenant }, 'could not look which sessions must end')
    }
  }
}

/** All of them are marked before any of it is on the log, of which the lock comes last. */
async function markBaseless(
  tx: WriteTx,
  baseless: ReadonlyMap<SessionId, string>,
): Promise<number> {
  const events: AuditEvent[] = []
  for (const reason of new Set(baseless.values())) {
    const ids = [...baseless].filter(([, why]) => why === reason).map(([id]) => id)
    const rows = await setKilled(tx, ids, reason)
    events.push(...rows.map((row) => sessionKilled(row, reason, system)))
  }
  for (const event of events) await appendEvent(tx, event)
  return events.length
}

/**
 * Of some sessions, those that would not be allowed any more; and of the forwards in the others, those
 * that would not, each by its own kind and destination.
 */
async function findBaseless(
  tx: WriteTx,
  ids: readonly SessionId[],
  open: readonly Forward[],
): Promise<Baseless> {
  const now = new Date()
  const sessions = new Map<SessionId, string>()
  const forwards = new Map<string, string>()
  const rows = await listUnmarked(tx, ids)
  if (rows.length === 0) return { sessions, forwards }
  const people = rows.map(personOf)
  const { askers, rules } = await readCircumstances(tx, people)
  const targetIds = [...new Set(rows.map(({ targetId }) => targetId))]
  const targets = await listTargetsById(tx, targetIds, targetIds.length)
  const targetsById = new Map(targets.map((target) => [target.id, targetOf(target)]))
  const openIn = Map.groupBy(open, ({ session }) => session)
  for (const [i, { id, targetId, login, kind }] of rows.entries()) {
    const asker = askers[i]
    if (asker === undefined) throw new Error('each person is answered for')
    const target = targetsById.get(targetId)
    const reason = whyNot(asker, target, rules, { login, kind }, now)
    if (reason !== undefined) {
      sessions.set(id, reason)
      continue
    }
    for (const forward of openIn.get(id) ?? []) {
      const gone = whyNot(asker, target, rules, { login, ...forwardWish(forward) }, now)
      if (gone !== undefined) forwards.set(forward.id, gone)
    }
  }
  return { sessions, forwards }
}

function personOf(row: SessionRow): Person {
  const { userId: id, keyFingerprint, certificateGeneration: generation } = row
  const { certificateSerial: serial, certificateKeyId: keyId } = row
  if (generation === null || serial === null || keyId === null) return { id, keyFingerprint }
  return { id, keyFingerprint, certificate: { generation, serial, keyId } }
}

/** Why somebody may not go on, in words for them. */
function whyNot(
  asker: Known,
  target: Target | undefined,
  rules: readonly Rule[],
  request: Request,
  now: Date,
): string | undefined {
  const gone = refuseStay(asker)
  if (gone === 'suspended') return `${asker.tenantSlug} was suspended`
  if (gone !== undefined || asker.user === undefined) {
    return 'your account, or the key you came in with, was removed'
  }
  if (target === undefined) return 'the target was removed'
  const decision = decide(asker.user, target, rules, request, now)
  if (!('refused' in decision)) return undefined
  switch (decision.refused) {
    case 'no-destination':
      return 'no grant of yours leads there any more'
    case 'no-kind':
      return `no grant of yours allows ${request.kind} on this target any more`
    case 'no-grant':
    case 'no-login':
      return 'your access to this target ended'
  }
}

function formatPayload(tenant: TenantId, session: SessionId, reason: string): string {
  return JSON.stringify({ tenant, session, reason })
}

/** undefined for what somebody else sent on the channel. */
function parsePayload(payload: string): { session: SessionId; reason: string } | undefined {
  try {
    const { session: id, reason } = payloadShape.parse(JSON.parse(payload))
    const session = parseSessionId(id)
    return session && { session, reason: storedText(reason, reasonMax) }
  } catch {
    // Not JSON, or another shape.
    return undefined
  }
}
