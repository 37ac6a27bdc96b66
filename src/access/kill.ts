import { z } from 'zod'
import { appendEvent } from '../audit/index.ts'
import type { Actor } from '../auth/index.ts'
import type { Log } from '../log.ts'
import { type Database, parseTenantId, type TenantId, type WriteTx } from '../postgres/index.ts'
import { parseSessionId, type SessionId } from '../recorder/index.ts'
import { type Known, type Person, readCircumstances } from './circumstances.ts'
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

/** Ends a session of this process, and tells its user why. */
export type KillListener = (session: SessionId, reason: string) => void

export type KillResult = 'killed' | 'not-live' | 'unknown'

const killChannel = 'vaultterm_session_kill'
/** Triggers on everything that access stands on notify here, with the tenant. */
const changeChannel = 'vaultterm_access_change'

const reasonMax = 200
const lookMs = 15_000
const system: Actor = { kind: 'system', id: 'access', name: 'VaultTerm' }

const payloadShape = z.object({ tenant: z.string(), session: z.string(), reason: z.string() })

/**
 * Ends sessions that their users would go on with: an operator wants it, or what they stood on is
 * gone. The mark is in the database, so a node that missed the word finds it there.
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
    const tell = (session: SessionId, reason: string) => {
      if (this.#live.has(session)) listener(session, reason)
    }
    const kills = await this.#database.listen(killChannel, (payload) => {
      if (payload === undefined) return void this.#lookAll(tell)
      const parsed = parsePayload(payload)
      if (parsed === undefined) this.#log.warn('a notification to end a session was not understood')
      else tell(parsed.session, parsed.reason)
    })
    const changes = await this.#database.listen(changeChannel, (payload) => {
      const tenant = payload === undefined ? undefined : parseTenantId(payload)
      if (tenant === undefined) void this.#lookAll(tell)
      else void this.#lookOnce(tenant, tell)
    })
    // For what ends without anybody doing anything: a grant that runs out.
    const timer = setInterval(() => void this.#lookAll(tell), lookMs).unref()
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
    try {
      const doomed = await this.#database.write(tenant, async (tx) => {
        const baseless = await listBaseless(tx, ids)
        if (baseless.size > 0) await this.#markBaseless(tx, baseless)
        return listKilled(tx, ids)
      })
      for (const { id, reason } of doomed) tell(id, reason)
    } catch (err) {
      // The database is away, or busy: the next look is not far.
      this.#log.warn({ err, tenant }, 'could not look which sessions must end')
    }
  }

  async #markBaseless(tx: WriteTx, baseless: ReadonlyMap<SessionId, string>): Promise<void> {
    const reasons = [...new Set(baseless.values())]
    for (const reason of reasons) {
      const ids = [...baseless].filter(([, why]) => why === reason).map(([id]) => id)
      for (const row of await setKilled(tx, ids, reason)) {
        await appendEvent(tx, sessionKilled(row, reason, system))
        this.#metrics.kills.inc({ why: 'baseless' })
      }
    }
  }
}

/** Of some sessions, those that would not be allowed any more, each with why. */
async function listBaseless(
  tx: WriteTx,
  ids: readonly SessionId[],
): Promise<ReadonlyMap<SessionId, string>> {
  const now = new Date()
  const rows = await listUnmarked(tx, ids)
  if (rows.length === 0) return new Map()
  const people = rows.map(personOf)
  const { askers, rules } = await readCircumstances(tx, people)
  const targetIds = [...new Set(rows.map(({ targetId }) => targetId))]
  const targets = await listTargetsById(tx, targetIds, targetIds.length)
  const targetsById = new Map(targets.map((target) => [target.id, targetOf(target)]))
  const found = new Map<SessionId, string>()
  for (const [i, { id, targetId, login, kind }] of rows.entries()) {
    const asker = askers[i]
    if (asker === undefined) throw new Error('each person is answered for')
    const reason = whyNot(asker, targetsById.get(targetId), rules, { login, kind }, now)
    if (reason !== undefined) found.set(id, reason)
  }
  return found
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
  return 'refused' in decision ? 'your access to this target ended' : undefined
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
