import { appendEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import {
  claimEndedInstances,
  type Database,
  endExpiredInstances,
  giveBackInstances,
  type InstanceId,
  type NodeLease,
  type ReadTx,
  removeOldInstances,
  restoreInstances,
  settleInstances,
  type TenantId,
} from '../postgres/index.ts'
import type { KeptWitness, Mended, Recovered, SessionId, Unended } from '../recorder/index.ts'
import type { LiveSessions } from './live-sessions.ts'
import { hasLoggedDigest, hasLoggedEnd, hasLoggedLoss } from './logged-session.ts'
import { type MendRecording, Mends } from './mends.ts'
import type { AccessMetrics } from './metrics.ts'
import type { OwedWork } from './owed-work.ts'
import {
  type Found,
  isSoughtElsewhere,
  listSought,
  listUnended,
  soughtMax,
} from './recovery-queries.ts'
import { putEnd, tellForeign } from './session-end.ts'
import { recordingLost, recordingRecovered, sessionEnded } from './session-events.ts'
import {
  type EndTime,
  findSession,
  type RecordingEnd,
  type SessionEnd,
  setRecording,
} from './session-queries.ts'
import { findWitness } from './witness-queries.ts'
import type { Witnesses } from './witnesses.ts'

/** The state of one recording, or the reason why it is not known yet. */
type Outcome = Recovered | { readonly outcome: 'unreadable'; readonly err: unknown }

/** The known facts about a session that was cut off. */
interface Remains {
  readonly witness: KeptWitness | undefined
  /** The last sign of life; undefined if there was none. */
  readonly lastAt: Date | undefined
  /** Of a session that only the database knows. */
  readonly isSealed?: () => Promise<boolean>
}

/** Looks a lease: a lost instance is ended within one of these after its lease ran out. */
const sweepsInLease = 9
/** How many of the processes that ended at once are named. */
const namedMax = 20
/** Between looks for recordings that may have come back with a node's disk. */
const seekMs = 3_600_000
/** The same while another process has such recordings, or there are more of them. */
const soonMs = 15_000
/**
 * A sweep this often also looks for open sessions of its own that this process does not know, and for those of
 * processes that the database does not know.
 */
const unknownEvery = 12
const sealedText =
  'a row asks for the recovery of a sealed recording: another program changed it; the file stays as it is'

/**
 * Ends on record the sessions of processes that cannot do it: of workers that died, and of instances
 * that have lost their lease.
 *
 * Each session is its tenant's work, so that one tenant's log or recordings do not delay another
 * tenant. An end is put on record even if the recording cannot be read now, or not in a short time; the
 * recording follows, and no end waits for it.
 */
export class Recovery {
  readonly #database: Database
  readonly #live: LiveSessions
  readonly #owed: OwedWork
  /** Recordings of sessions whose end is on record. */
  readonly #late: OwedWork
  readonly #mends = new Mends()
  readonly #witnesses: Witnesses
  readonly #log: Log
  readonly #metrics: AccessMetrics
  /** Open sessions of this instance that an earlier sweep did not know either. */
  #unknown = new Set<SessionId>()
  /** Of each ended instance that this process has claimed, the sessions that it ends. */
  readonly #taken = new Map<InstanceId, readonly Found[]>()
  #sweeps = 0
  #soughtAtMs = -Infinity

  constructor(deps: {
    readonly database: Database
    readonly live: LiveSessions
    readonly owed: OwedWork
    readonly late: OwedWork
    readonly witnesses: Witnesses
    readonly log: Log
    readonly metrics: AccessMetrics
  }) {
    this.#database = deps.database
    this.#live = deps.live
    this.#owed = deps.owed
    this.#late = deps.late
    this.#witnesses = deps.witnesses
    this.#log = deps.log
    this.#metrics = deps.metrics
  }

  /**
   * Ends the sessions of a worker that just died. Resolves when they are on record, or when a
   * tenant's log cannot be written now; these are tried again.
   */
  async interrupt(sessions: readonly Unended[], mend: MendRecording): Promise<void> {
    const at = new Date()
    for (const { tenant, session } of sessions) {
      let isRepeated = !this.#live.has(session)
      this.#live.remove(session)
      const remains = { witness: this.#witnesses.find(session), lastAt: at }
      this.#owed.add(tenant, session, () => {
        const ended = this.#end(tenant, session, mend, async () => remains, isRepeated)
        isRepeated = true
        return ended
      })
    }
    const tenants = new Set(sessions.map(({ tenant }) => tenant))
    await Promise.all([...tenants].map((tenant) => this.#owed.rested(tenant)))
  }

  /** Sweeps until the answer is called. */
  start(lease: NodeLease, leaseMs: number, mend: MendRecording): () => Promise<void> {
    let sweeping: Promise<void> | undefined
    const sweep = () => {
      // One at a time, however long the database takes.
      sweeping ??= this.sweep(lease, mend).finally(() => {
        sweeping = undefined
      })
    }
    sweep()
    const timer = setInterval(sweep, leaseMs / sweepsInLease).unref()
    return async () => {
      clearInterval(timer)
      await sweeping
    }
  }

  /** Looks once for sessions that this process must end; their ends follow, tenant by tenant. */
  async sweep(lease: NodeLease, mend: MendRecording): Promise<void> {
    try {
      await this.#endLostInstances(lease, mend)
      const looksForUnknown = this.#sweeps++ % unknownEvery === 0
      if (looksForUnknown) await this.#endUnknown(lease, mend)
      if (performance.now() - this.#soughtAtMs > seekMs) await this.#seek(lease, mend)
      // Last: there may be no room for a row.
      if (looksForUnknown) await this.#database.system(restoreInstances)
    } catch (err) {
      this.#log.warn({ err }, 'could not find the sessions of lost processes')
    }
  }

  async #endLostInstances({ instance }: NodeLease, mend: MendRecording): Promise<void> {
    const { expired, claimed } = await this.#database.system(async (tx) => ({
      expired: await endExpiredInstances(tx, instance),
      claimed: await claimEndedInstances(tx, instance),
    }))
    for (const { id, node } of expired.slice(0, namedMax)) {
      this.#log.warn({ instance: id, node }, 'a process lost its lease: its sessions are ended')
      // It may have put ends on record whose recordings it still owed.
      this.#soughtAtMs = -Infinity
    }
    for (const { id } of claimed) {
      const open = await this.#database.system((tx) => listUnended(tx, id))
      this.#taken.set(id, [...this.#workOf(id), ...open])
      for (const { tenant, session } of open) this.#addEnd(tenant, session, mend)
    }
    await this.#database.system((tx) => settleInstances(tx))
    await this.#giveBack(instance)
    await this.#database.system((tx) => removeOldInstances(tx))
  }

  /** What is still to be done for an ended instance. */
  #workOf(ended: InstanceId): readonly Found[] {
    return (this.#taken.get(ended) ?? []).filter(
      ({ tenant, session }) => this.#owed.has(tenant, session) || this.#late.has(tenant, session),
    )
  }

  /** Its own node may have the recordings that were not found here: one process at a time repairs one. */
  async #giveBack(own: InstanceId): Promise<void> {
    const done = [...this.#taken.keys()].filter((id) => this.#workOf(id).length === 0)
    if (done.length === 0) return
    const still = await this.#database.system((tx) => giveBackInstances(tx, own, done))
    for (const id of done) if (!still.includes(id)) this.#taken.delete(id)
  }

  /** Sessions that this process neither has nor owes an end: it must have dropped them. */
  async #endUnknown({ instance }: NodeLease, mend: MendRecording): Promise<void> {
    const open = await this.#database.system((tx) => listUnended(tx, instance))
    const unknown = open.filter(
      ({ tenant, session }) => !this.#live.has(session) && !this.#owed.has(tenant, session),
    )
    for (const { tenant, session } of unknown) {
      if (this.#unknown.has(session)) this.#addEnd(tenant, session, mend)
    }
    this.#unknown = new Set(unknown.map(({ session }) => session))
  }

  async #seek({ node, instance }: NodeLease, mend: MendRecording): Promise<void> {
    this.#soughtAtMs = performance.now()
    const { sought, isHeld } = await this.#database.system(async (tx) => ({
      sought: await listSought(tx, node, instance),
      isHeld: await isSoughtElsewhere(tx, node, instance),
    }))
    const perTenant = Map.groupBy(sought, ({ tenant }) => tenant)
    const isMore = [...perTenant.values()].some(({ length }) => length === soughtMax)
    // Another process still has them, and gives them back soon; or there are more.
    if (isHeld || isMore) this.#soughtAtMs -= seekMs - soonMs
    for (const { tenant, session } of sought) {
      // The row of a session that this process still has says what it wants.
      if (this.#live.has(session) || this.#owed.has(tenant, session)) continue
      if (this.#late.has(tenant, session)) continue
      this.#addLate(tenant, session, mend, () => this.#find(tenant, session))
    }
  }

  #addLate(
    tenant: TenantId,
    session: SessionId,
    mend: MendRecording,
    find: () => Promise<Remains>,
  ): void {
    this.#late.add(tenant, session, () => this.#addRecording(tenant, session, mend, find))
  }

  #addEnd(tenant: TenantId, session: SessionId, mend: MendRecording): void {
    if (this.#owed.has(tenant, session)) return
    const find = () => this.#find(tenant, session)
    this.#owed.add(tenant, session, () => this.#end(tenant, session, mend, find))
  }

  /** The facts that the database has about a session which this process does not know. */
  async #find(tenant: TenantId, session: SessionId): Promise<Remains> {
    const found = await this.#database.read(tenant, (tx) => findWitness(tx, session))
    const isSealed = () => this.#isSealed(tenant, session)
    return { witness: found?.kept, lastAt: found?.at, isSealed }
  }

  async #end(
    tenant: TenantId,
    session: SessionId,
    mend: MendRecording,
    find: () => Promise<Remains>,
    isRepeated = true,
  ): Promise<void> {
    const { lastAt, ...remains } = await find()
    const { witness } = remains
    const outcome = await this.#mend({ tenant, session, ...remains }, mend)
    const end = endOf(outcome, lastAt)
    const put = await this.#database.write(tenant, async (tx) => {
      const put = await putEnd(tx, session, end, { witness, isRepeated, log: this.#log })
      if (put === undefined) return undefined
      // The log may have what it needs: only the row had been opened again.
      if (outcome.outcome === 'sealed' && (await hasLoggedEnd(tx, session))) return put
      const event = eventOf(session, outcome, witness)
      if (event !== undefined) await appendEvent(tx, event)
      const isKnown = isRead(outcome) && outcome.outcome !== 'sealed' && !put.row.recordingSought
      await appendEvent(tx, sessionEnded(put.row, end, { isRead: isKnown }))
      return put
    })
    this.#witnesses.forget(session)
    if (put === undefined) return
    tellForeign(put, this.#log)
    this.#metrics.recovered.inc({ recording: outcome.outcome })
    if (outcome.outcome === 'sealed') this.#log.error({ session }, sealedText)
    if (outcome.outcome === 'unreadable') {
      this.#log.error({ err: outcome.err, session }, 'an interrupted recording cannot be read now')
    } else if (outcome.outcome === 'unfinished') {
      this.#log.info({ session }, 'a session ended, and its long recording is read later')
    } else return
    this.#addLate(tenant, session, mend, find)
  }

  /**
   * For a session that has ended without its recording. Rejects when it cannot be read or put on
   * record now.
   */
  async #addRecording(
    tenant: TenantId,
    session: SessionId,
    mend: MendRecording,
    find: () => Promise<Remains>,
  ): Promise<void> {
    const { lastAt: _, ...remains } = await find()
    const recovered = await this.#mends.whole({ tenant, session, ...remains }, mend)
    if (recovered.outcome === 'sealed') return this.#log.error({ session }, sealedText)
    const event = eventOf(session, recovered, remains.witness)
    await this.#database.write(tenant, async (tx) => {
      // A missing one is sought on.
      const isSet =
        recovered.outcome !== 'missing' && (await setRecording(tx, session, recordingOf(recovered)))
      if (event === undefined) return
      // A row that says that nothing is sought proves nothing.
      if (isSet || !(await isTold(tx, session, recovered))) await appendEvent(tx, event)
    })
  }

  /** Whether a digest of its recording is known: then no program of ours changes the file. */
  #isSealed(tenant: TenantId, session: SessionId): Promise<boolean> {
    return this.#database.read(tenant, async (tx) => {
      const row = await findSession(tx, session)
      return (row !== undefined && row.recordingSha256 !== null) || hasLoggedDigest(tx, session)
    })
  }

  /**
   * If the storage fails, or takes long, the recording is looked for later; the session's end does not
   * wait for it.
   */
  async #mend(unended: Unended, mend: MendRecording): Promise<Outcome> {
    const outcome = await this.#mends
      .prompt(unended, mend)
      .catch((err: unknown): Outcome => ({ outcome: 'unreadable', err }))
    if (isRead(outcome) || !(await unended.isSealed?.())) return outcome
    return { outcome: 'sealed' }
  }
}

/** Whether the log has this digest of a recording, or of a lost one any, or says that it is lost. */
async function isTold(tx: ReadTx, session: SessionId, outcome: Outcome): Promise<boolean> {
  if (outcome.outcome === 'mended') return hasLoggedDigest(tx, session, outcome.sha256)
  return (await hasLoggedLoss(tx, session)) || hasLoggedDigest(tx, session)
}

function isRead({ outcome }: Outcome): boolean {
  return outcome !== 'unreadable' && outcome !== 'unfinished'
}

/** The same before the end of the session is on record and after. */
function recordingOf(outcome: Outcome): RecordingEnd {
  const mended = outcome.outcome === 'mended' ? outcome : undefined
  const isLeft = outcome.outcome === 'given-up' && outcome.why !== 'not-a-file'
  return {
    recording: mended && { ...mended, complete: false },
    evidence: mended?.evidence,
    isUnsealed: isLeft || outcome.outcome === 'sealed',
  }
}

function endOf(outcome: Outcome, lastAt: Date | undefined): SessionEnd {
  const mended = outcome.outcome === 'mended' ? outcome : undefined
  return {
    reason: 'interrupted',
    exitStatus: undefined,
    exitSignal: undefined,
    bytes: undefined,
    time: timeOf(mended, lastAt),
    ...recordingOf(outcome),
    isSought: outcome.outcome === 'missing' || !isRead(outcome),
  }
}

/** The later of the last event and the last sign of life. A recording is not believed about the future. */
function timeOf(mended: Mended | undefined, lastAt: Date | undefined): EndTime {
  const times = [mended?.lastEventMs, lastAt?.getTime()].filter((time) => time !== undefined)
  return times.length === 0 ? 'unknown' : { at: new Date(Math.min(Math.max(...times), Date.now())) }
}

/** An empty recording, and one that was never seen, get no event. */
function eventOf(session: SessionId, outcome: Outcome, witness: KeptWitness | undefined) {
  switch (outcome.outcome) {
    case 'mended':
      return recordingRecovered(session, outcome, witness?.chain)
    case 'given-up':
      return recordingLost(session, outcome.why, outcome.bytes)
    case 'missing':
    case 'unreadable':
      return witness && recordingLost(session, outcome.outcome, witness.bytes)
    case 'empty':
    case 'sealed':
    case 'unfinished':
      return undefined
  }
}
