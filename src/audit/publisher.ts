import { atExit } from '../at-exit.ts'
import type { Log } from '../log.ts'
import { type Database, parseTenantId, type TenantId } from '../postgres/index.ts'
import { type Continuation, continueLog, type SeeLeaf } from './continuation.ts'
import { CheckpointForged, LogInconsistent, SignedHeadsUnusable } from './errors.ts'
import { Findings, namedMax } from './findings.ts'
import { isToldElsewhere, LogTroubles } from './log-troubles.ts'
import { rootHash } from './merkle.ts'
import { checkpoints } from './metrics.ts'
import { type Compared, OwnAppend, OwnAppends } from './own-appends.ts'
import { insertCheckpoint, listUnsigned, readTree, waitForDisk } from './queries.ts'
import { headOf, type SignedHead, type SignedHeads } from './signed-heads.ts'
import { type CheckpointSigner, keyOf, signCheckpoint } from './signer.ts'
import { UnsignedAppends } from './unsigned-appends.ts'

const logsPerRoundMax = 1000
/** Logs that are signed at a time: a long one must not keep the others waiting. */
const atOnceMax = 4
/** Remembered logs that a round checks even without new leaves. */
const watchedPerRoundMax = 50
/** So long a process signs when it ends, in all. What is left then is in the home. */
const endMs = 5000

/**
 * Signs the heads of logs, after they have committed and are on disk, never before: a head that was signed
 * and then rolled back, or lost in a crash, would leave a log that no signer may continue.
 *
 * It signs only heads that it has recomputed: the signed head, extended by the stored bytes of
 * every leaf since, must be the tree. Signed heads are remembered outside of the database, so that
 * a log that was rolled back is not signed, by a running node or after a restart.
 *
 * What this process appended must be in the log before it is signed. Where it is not, that is put on record,
 * and signing goes on above it: the log has lost it for good, and to stop would leave the rest open as well.
 *
 * Only a note by our own key is evidence. Any holder of the application's database login can store another
 * note for a head. The forgery is put on record, and signing goes on above it.
 */
export class Publisher {
  readonly #database: Database
  readonly #signer: () => Promise<CheckpointSigner>
  readonly #heads: SignedHeads
  readonly #log: Log
  readonly #findings: Findings
  readonly #troubles = new LogTroubles()
  readonly #own = new OwnAppends()
  readonly #unsigned: UnsignedAppends | undefined
  /** Of the losses that were found when the process ended. */
  readonly #lostAtEnd: LogInconsistent[] = []
  readonly #inWork = new Set<TenantId>()
  readonly #closing = new AbortController()
  /** Whoever stops this process may kill it soon. */
  #isStopping = false
  #isLate = false
  readonly #giveUpExit: () => void
  #watched: Iterator<TenantId> | undefined
  #timer: NodeJS.Timeout | undefined
  readonly #rounds = new Set<Promise<void>>()
  #failure: SignedHeadsUnusable | undefined

  constructor(
    database: Database,
    signer: () => Promise<CheckpointSigner>,
    heads: SignedHeads,
    log: Log,
    /** The files in which a process that ends leaves what no head covers; undefined without a home. */
    unsigned?: string,
  ) {
    this.#database = database
    this.#signer = signer
    this.#heads = heads
    this.#log = log
    this.#findings = new Findings(database, log)
    this.#unsigned = unsigned === undefined ? undefined : new UnsignedAppends(unsigned, this.#own)
    this.#giveUpExit = unsigned === undefined ? () => {} : atExit(() => this.keepUnsigned())
    database.observe((tenant, fact) => {
      if (fact instanceof OwnAppend) this.#appended(tenant, fact)
    })
  }

  /** Signs every log that has grown, and looks at the others in turn, again and again, until closed. */
  start(intervalMs: number): void {
    if (this.#timer !== undefined) return
    const round = () => {
      // The second one goes on beside a log that takes long; a third would only wait.
      if (this.#rounds.size >= 2) return
      const running = this.#round().finally(() => this.#rounds.delete(running))
      this.#rounds.add(running)
    }
    this.#timer = setInterval(round, intervalMs).unref()
    round()
  }

  /** For a process that stops: writes what it appended, and no signed head covers, to its home. */
  keepUnsigned(): void {
    this.#isStopping = true
    try {
      this.#unsigned?.keep()
    } catch (err) {
      this.#log.error({ err }, 'unsigned events are not remembered')
    }
  }

  /** A database that says nothing must not keep a process from its end. */
  async close(): Promise<void> {
    this.#closing.abort()
    clearInterval(this.#timer)
    // Before all else: it may not come to an end.
    this.keepUnsigned()
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(late.resolve, endMs)
    await Promise.race([this.#signAtEnd(), late.promise])
    clearTimeout(timer)
    this.#isLate = true
    this.keepUnsigned()
    this.#giveUpExit()
    const [first] = this.#lostAtEnd
    if (first !== undefined) throw first
  }

  #remember(tenant: TenantId, append: OwnAppend): void {
    const known = this.#heads.find(tenant)
    if (known !== undefined && !this.#own.hasHead(tenant)) this.#own.signed(tenant, known)
    this.#own.add(tenant, append)
  }

  /** What this process did itself, as opposed to what it read. */
  #appended(tenant: TenantId, append: OwnAppend): void {
    const origin = this.#heads.find(tenant)?.origin
    this.#remember(tenant, new OwnAppend({ ...append, origin }))
  }

  /** Nobody knows of what this process appended once it is gone: a head with that is signed before. */
  async #signAtEnd(): Promise<void> {
    await Promise.all(this.#rounds)
    if (this.#own.tenants().length === 0) return
    await this.#heads.refresh().catch((err: unknown) => this.#log.warn({ err }, 'heads not read'))
    await inLanes(this.#own.tenants().values(), async (tenant) => {
      if (this.#isLate) return
      await this.publish(tenant).catch((err: unknown) => this.#compareAtEnd(tenant, err))
    })
  }

  /** Throws the reason why the heads cannot be read, or why a log is not signed. */
  requireSound(): void {
    if (this.#failure !== undefined) throw this.#failure
    this.#troubles.requireNone()
  }

  /**
   * One round over all logs that have grown. A log that cannot be signed does not stop the others.
   */
  async publishAll(): Promise<void> {
    try {
      await this.#heads.refresh()
      this.#failure = undefined
      this.#troubles.forgetFormer((tenant) => this.#heads.find(tenant)?.origin)
      const except = [...this.#inWork, ...this.#troubles.waiting()]
      const grown = await this.#database.system((tx) => listUnsigned(tx, except, logsPerRoundMax))
      this.#troubles.listed()
      // A log that does not say that it has grown is looked at as well, where it should have.
      const logs = new Set([
        ...grown.map(({ tenant }) => parseTenantId(tenant)),
        ...this.#own.tenants(),
      ])
      for (const tenant of except) logs.delete(tenant)
      await this.#each(logs.values())
    } catch (err) {
      if (err instanceof SignedHeadsUnusable) this.#failure = err
      else this.#troubles.failed('all', err)
      checkpoints.inc({ outcome: 'failed' })
      this.#log.warn({ err }, 'checkpoints postponed')
    }
  }

  /** Signs the head of one log, and gives the note; of an unchanged log, the last note. */
  publish(tenant: TenantId): Promise<string> {
    return this.#publish(tenant, this.#heads.find(tenant))
  }

  /** The same, ignoring heads of a former epoch: for a log that was repaired, on record. */
  async publishAnew(tenant: TenantId): Promise<void> {
    await this.#heads.refresh()
    await this.#publish(tenant, undefined, { isAnew: true })
  }

  async #publish(
    tenant: TenantId,
    remembered: SignedHead | undefined,
    epoch = { isAnew: false },
  ): Promise<string> {
    const signer = await this.#signer()
    const { tree, last, kept, former } = await this.#settled(tenant, signer, remembered)
    const settle = () => {
      this.#own.signed(tenant, tree)
      this.#own.forget(tenant, { appends: [...kept, ...former] })
    }
    if (last?.size === tree.size) {
      // Another node signed it. This one has checked it, and remembers it from now on.
      if (remembered?.size !== last.size) {
        await this.#onDisk(tenant)
        await this.#heads.record(headOf(tenant, { ...tree, note: last.note }), epoch)
      }
      settle()
      return last.note
    }
    if (tree.size > 0) await this.#onDisk(tenant)
    const root = rootHash(tree)
    const note = await signCheckpoint(signer, { origin: tree.origin, size: tree.size, root })
    // A log without leaves needs no memory: any log continues it.
    if (tree.size === 0) return note
    await this.#heads.record(headOf(tenant, { ...tree, note }), epoch)
    settle()
    await this.#database.write(tenant, (tx) => insertCheckpoint(tx, { ...tree, note }))
    checkpoints.inc({ outcome: 'signed' })
    return note
  }

  /**
   * Waits until the leaves that were read are on disk. Some commits do not wait for the disk (decision 24). If
   * a head were signed or remembered earlier, an honest log would look rolled back after a power cut.
   */
  async #onDisk(tenant: TenantId): Promise<void> {
    await this.#database.write(tenant, (tx) => waitForDisk(tx))
  }

  #continue(
    tenant: TenantId,
    signer: CheckpointSigner,
    remembered: SignedHead | undefined,
  ): Promise<Continuation & Compared> {
    const comparison = this.#own.compare(tenant)
    return this.#database.read(
      tenant,
      async (tx) => {
        const key = (origin: string) => keyOf(signer, origin)
        const see: SeeLeaf = (...leaf) => comparison.see(...leaf)
        const found = await continueLog(tx, key, remembered, { see, from: comparison.from })
        return { ...found, ...(await comparison.finish(tx, found.tree)) }
      },
      { snapshot: true },
    )
  }

  /** The log, once each loss and each forgery that it has is on record. */
  async #settled(
    tenant: TenantId,
    signer: CheckpointSigner,
    remembered: SignedHead | undefined,
  ): Promise<Continuation & Compared> {
    const found = await this.#aboveForgeries(tenant, signer, remembered)
    if (found.former.length > 0) {
      this.#log.warn({ tenant, count: found.former.length }, 'events went with the former log')
    }
    if (found.lost.length === 0 && found.givenUp === 0) return found
    const { lost, tree } = found
    const told = await this.#findings.tellLoss(tenant, found)
    if (lost.length > 0 && this.#closing.signal.aborted) {
      this.#lostAtEnd.push(lossOf(tree.origin, lost))
    }
    const above = await this.#continue(tenant, signer, remembered)
    const gone = above.lost.filter(({ id }) => id === told)
    if (gone.length === 0) {
      this.#own.forget(tenant, { appends: lost, givenUp: found.givenUp })
      return above
    }
    // What was lost is told again once the log takes events.
    this.#own.forget(tenant, { appends: gone })
    const reason = `it does not keep what is appended to it (${lost.length} events are gone)`
    throw new LogInconsistent(tree.origin, 'lost', reason)
  }

  /** Where a log could not be signed at the end: what this process appended must be there at least. */
  async #compareAtEnd(tenant: TenantId, cause: unknown): Promise<void> {
    if (!isToldElsewhere(cause)) this.#log.warn({ err: cause, tenant }, 'not signed at the end')
    if (this.#isLate) return
    await this.#findLoss(tenant).catch((err: unknown) =>
      this.#log.warn({ err, tenant }, 'the last events could not be compared with the audit log'),
    )
  }

  async #findLoss(tenant: TenantId): Promise<void> {
    const comparison = this.#own.compare(tenant)
    const { origin, lost } = await this.#database.read(
      tenant,
      async (tx) => {
        const tree = await readTree(tx)
        return { origin: tree.origin, ...(await comparison.finish(tx, tree)) }
      },
      { snapshot: true },
    )
    if (lost.length > 0) this.#lostAtEnd.push(lossOf(origin, lost))
  }

  /**
   * The log at a head without a forged note: a log has one note for each head. The event that reports a
   * forgery gives the log a new head.
   */
  async #aboveForgeries(
    tenant: TenantId,
    signer: CheckpointSigner,
    remembered: SignedHead | undefined,
  ): Promise<Continuation & Compared> {
    const found = await this.#continue(tenant, signer, remembered)
    const [largest] = found.forged
    if (largest === undefined) return found
    const isTold = this.#findings.hasForgery(tenant, largest)
    if (isTold && largest < found.tree.size) return found
    await this.#findings.tellForgery(tenant, found)
    const above = await this.#continue(tenant, signer, remembered)
    const { origin, size } = above.tree
    // An attacker forges as fast as we append. The publisher tries again after a pause.
    if (above.forged[0] === size) throw new CheckpointForged(origin, size)
    return above
  }

  /**
   * Whether a log contradicts its signed head, or has a forged checkpoint above its last signed one;
   * undefined when it does not. Signs nothing.
   */
  async contradiction(tenant: TenantId): Promise<LogInconsistent | CheckpointForged | undefined> {
    const remembered = this.#heads.find(tenant)
    try {
      const { tree, forged } = await this.#continue(tenant, await this.#signer(), remembered)
      const [largest] = forged
      return largest === undefined ? undefined : new CheckpointForged(tree.origin, largest)
    } catch (err) {
      if (err instanceof LogInconsistent) return err
      throw err
    }
  }

  async #round(): Promise<void> {
    await this.#takeUnsigned()
    await this.publishAll()
    // A log that was rolled back does not grow, so it must be checked even without new leaves.
    await this.#each(this.#nextWatched()).catch((err: unknown) =>
      this.#log.warn({ err }, 'signed logs could not be checked'),
    )
    await this.#heads.compact().catch((err: unknown) => this.#log.warn({ err }, 'not compacted'))
    await this.#releaseUnsigned()
  }

  /** What commands and former processes of this home could not see signed is compared here. */
  async #takeUnsigned(): Promise<void> {
    try {
      const lines = await this.#unsigned?.take((...entry) => this.#remember(...entry))
      if (lines) this.#log.error({ lines }, 'unsigned events that nobody can read')
    } catch (err) {
      this.#log.error({ err }, 'a file of unsigned events cannot be read')
    }
  }

  async #releaseUnsigned(): Promise<void> {
    try {
      await this.#unsigned?.release()
    } catch (err) {
      this.#log.error({ err }, 'a file of unsigned events cannot be removed')
    }
    // Live sessions that end append, too.
    if (this.#isStopping) this.keepUnsigned()
  }

  *#nextWatched(): Generator<TenantId> {
    for (let count = 0; count < watchedPerRoundMax; count += 1) {
      const next = this.#watched?.next()
      if (next?.done === false) {
        if (!this.#troubles.isWaiting(next.value)) yield next.value
        continue
      }
      // All were checked: the next round starts with the first again.
      this.#watched = [...this.#heads.list()].map(({ tenant }) => tenant).values()
      if (count > 0) return
    }
  }

  async #each(tenants: Iterator<TenantId | undefined>): Promise<void> {
    await inLanes(tenants, async (tenant) => {
      if (tenant !== undefined && !this.#closing.signal.aborted) await this.#publishOrReport(tenant)
    })
  }

  async #publishOrReport(tenant: TenantId): Promise<void> {
    if (this.#inWork.has(tenant)) return
    this.#inWork.add(tenant)
    try {
      await this.publish(tenant)
      this.#troubles.signed(tenant)
    } catch (err) {
      this.#troubles.postpone(tenant, this.#heads.find(tenant)?.origin)
      const refused = err instanceof LogInconsistent
      checkpoints.inc({ outcome: refused ? 'refused' : 'failed' })
      if (refused) await this.#report(tenant, err)
      else if (err instanceof CheckpointForged) this.#troubles.contradicted(tenant, err)
      else {
        // A sealed vault or a lost database is told once for the node, not once a log.
        const level = this.#troubles.failed(tenant, err) ? 'warn' : 'debug'
        this.#log[level]({ err, tenant }, 'checkpoint postponed')
      }
    } finally {
      this.#inWork.delete(tenant)
    }
  }

  /** Says it once on the record, and at each try in the program's log. */
  async #report(tenant: TenantId, err: LogInconsistent): Promise<void> {
    this.#log.error({ err, tenant }, 'audit log inconsistent, not signed')
    if (this.#troubles.contradicted(tenant, err)) return
    await this.#findings.tellContradiction(tenant, err, this.#heads.find(tenant))
  }
}

/** Several at a time. */
async function inLanes<T>(all: Iterator<T>, work: (one: T) => Promise<void>): Promise<void> {
  const lane = async () => {
    for (let next = all.next(); next.done !== true; next = all.next()) await work(next.value)
  }
  await Promise.all(Array.from({ length: atOnceMax }, lane))
}

function lossOf(origin: string, lost: readonly OwnAppend[]): LogInconsistent {
  const events = lost.map(({ id }) => id).slice(0, namedMax)
  return new LogInconsistent(origin, 'lost', `${lost.length} events are gone: ${events.join(' ')}`)
}
