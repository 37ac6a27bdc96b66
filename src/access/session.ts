import { randomBytes } from 'node:crypto'
import { actAndAppendLast, appendLastEvent, lockLog } from '../audit/index.ts'
import type { Log } from '../log.ts'
import { type Database, DatabaseUnavailable, type TenantId } from '../postgres/index.ts'
import { parseSessionId, type RecordingDigest, type SessionId } from '../recorder/index.ts'
import type { Authorization, Mint } from './authorization.ts'
import type { Authorizer } from './authorizer.ts'
import { AccessRevoked, AuthorizationInvalid } from './errors.ts'
import type { LiveSessions } from './live-sessions.ts'
import type { OwedWork } from './owed-work.ts'
import { putEnd, tellForeign } from './session-end.ts'
import { sessionEnded, sessionOpened, sessionStarted } from './session-events.ts'
import { type EndTime, insertSession, setOpened } from './session-queries.ts'
import type { SessionStart } from './session-start.ts'
import { storedText } from './stored-text.ts'
import type { Testimony, Witnesses } from './witnesses.ts'

export interface SessionOutcome {
  readonly tenant: TenantId
  readonly exitStatus?: number
  readonly exitSignal?: string
  /** In both directions. */
  readonly bytes: number
  /** In one word, or a code. */
  readonly reason: string
  /** Absent when there was no output to record. */
  readonly recording?: RecordingDigest
}

const commandBytesMax = 262_144
const textMax = 256

/** Puts sessions on record: their start before anything happens, and their end once. */
export class Sessions {
  readonly #database: Database
  readonly #mint: Mint
  readonly #authorizer: Authorizer
  readonly #live: LiveSessions
  readonly #owed: OwedWork
  readonly #witnesses: Witnesses
  readonly #log: Log

  constructor(deps: {
    readonly database: Database
    readonly mint: Mint
    readonly authorizer: Authorizer
    readonly live: LiveSessions
    readonly owed: OwedWork
    readonly witnesses: Witnesses
    readonly log: Log
  }) {
    this.#database = deps.database
    this.#mint = deps.mint
    this.#authorizer = deps.authorizer
    this.#live = deps.live
    this.#log = deps.log
    this.#owed = deps.owed
    this.#witnesses = deps.witnesses
  }

  async start(given: Authorization, facts: SessionStart): Promise<{ readonly session: SessionId }> {
    const minted = this.#mint.check(given)
    const { authorization, kind } = minted
    if (minted.session !== undefined || facts.kind !== kind) throw new AuthorizationInvalid()
    const { forceCommand } = minted.authorization
    if (forceCommand !== undefined && facts.command?.toString() !== forceCommand) {
      throw new AuthorizationInvalid()
    }
    const session = newSessionId()
    // Taken before anything is awaited: one authorization starts one session, also when asked twice at once.
    this.#mint.use(minted, session)
    const { tenant, user, target, login } = authorization
    this.#live.expect(authorization, session)
    try {
      const startedAt = await this.#database.write(tenant, async (tx) => {
        const inserted = insertSession(tx, {
          id: session,
          userId: user.id,
          user: user.name,
          keyFingerprint: authorization.keyFingerprint,
          targetId: target.id,
          target: target.name,
          targetGeneration: target.generation,
          login,
          kind,
          via: facts.via,
          command: facts.command?.subarray(0, commandBytesMax) ?? null,
          source: storedText(facts.source, textMax),
          clientIdent: storedText(facts.clientIdent, textMax),
          node: facts.node,
          recording: facts.recording,
          certificate: minted.identity.certificate,
        })
        // In this order: the question about access is asked with the lock held.
        const [at, , holds] = await Promise.all([
          inserted,
          lockLog(tx),
          this.#authorizer.holds(tx, minted),
        ])
        if (!holds) throw new AccessRevoked()
        await appendLastEvent(tx, sessionStarted(session, minted, facts))
        return at
      })
      this.#live.show(session, {
        tenant,
        session,
        node: facts.node,
        user: user.name,
        target: target.name,
        login,
        kind,
        startedAt: startedAt.toISOString(),
      })
    } catch (err) {
      this.#mint.forget(authorization.id)
      this.#live.remove(session)
      if (err instanceof AccessRevoked) await this.#authorizer.refuseRevoked(minted)
      // A commit without an answer may have succeeded: then it left a session without a user.
      if (err instanceof DatabaseUnavailable) {
        const outcome = { tenant, bytes: 0, reason: 'not-started' }
        this.#owed.add(tenant, session, () =>
          this.#writeEnd(session, outcome, { agoMs: 0 }, undefined, true),
        )
      }
      throw err
    }
    return { session }
  }

  /** What this process remembers decides: any statement of a login that serves may mark the row. */
  opened(given: Authorization, session: SessionId): Promise<void> {
    return this.#live.openOnce(given, session, async () => {
      const { tenant } = given
      const event = sessionOpened(session, given)
      const done = await this.#database.write(tenant, (tx) =>
        actAndAppendLast(tx, setOpened(session), event),
      )
      if (done !== undefined) return
      // Or an earlier try of ours has committed without an answer: then the log says it twice.
      await this.#database.write(tenant, (tx) => appendLastEvent(tx, event))
      // Not before: a process that has lost its lease finds what its successor wrote.
      this.#log.error(
        { session },
        'another program wrote on the row of this session that it was open, or had ended',
      )
    })
  }

  /** Rejects when it could not be written; it is then tried again until it is written. */
  async end(session: SessionId, outcome: SessionOutcome): Promise<void> {
    if (this.#live.tenantOf(session) !== outcome.tenant) {
      this.#log.debug({ session }, 'session had ended already')
      return
    }
    // The session has ended, even if that cannot be written now: it needs no second end.
    this.#live.remove(session)
    this.#mint.forgetSession(session)
    const endedAtMs = performance.now()
    const testimony = this.#witnesses.end(session, outcome.recording)
    let isRepeated = false
    await this.#owed.attempt(outcome.tenant, session, () => {
      const time = { agoMs: performance.now() - endedAtMs }
      const written = this.#writeEnd(session, outcome, time, testimony, isRepeated)
      isRepeated = true
      return written
    })
  }

  async #writeEnd(
    session: SessionId,
    outcome: SessionOutcome,
    time: EndTime,
    testimony: Testimony | undefined,
    isRepeated: boolean,
  ): Promise<void> {
    const { tenant, exitStatus, exitSignal, bytes, recording } = outcome
    const end = {
      reason: storedText(outcome.reason, textMax),
      exitStatus: exitStatus === undefined ? undefined : exitStatus >>> 0,
      exitSignal: exitSignal === undefined ? undefined : storedText(exitSignal, textMax),
      bytes,
      time,
      recording,
      evidence: testimony?.evidence,
      isUnsealed: false,
      isSought: false,
    }
    const more = { streams: recording?.streams, chain: testimony?.kept.chain }
    const put = await this.#database.write(tenant, async (tx) => {
      const kept = testimony?.kept
      const put = await putEnd(tx, session, end, { witness: kept, isRepeated, log: this.#log })
      if (put !== undefined) await appendLastEvent(tx, sessionEnded(put.row, end, more))
      return put
    })
    if (put !== undefined) tellForeign(put, this.#log)
  }
}

/** UUID version 7 (RFC 9562 section 5.7), so that sessions sort by their start. */
function newSessionId(): SessionId {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(Date.now(), 0, 6)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const text = bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  const id = parseSessionId(text)
  if (id === undefined) throw new Error('a new session id is a UUID')
  return id
}
