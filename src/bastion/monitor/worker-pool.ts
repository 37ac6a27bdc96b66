import type { WorkerLimits } from '../../config.ts'
import { background, type Log } from '../../log.ts'
import { type Figures, retireFigures } from '../../metrics.ts'
import type { SessionId } from '../../recorder/index.ts'
import type { ConnectionId } from '../wire/calls.ts'
import type { LeaseTimes } from '../wire/lease-times.ts'
import type { WorkerSettings } from '../wire/messages.ts'
import { workerMetrics } from '../wire/worker-metrics.ts'
import { WorkerFailed } from './errors.ts'
import type { MonitorDeps } from './monitor.ts'
import { type NewConnection, WaitingConnections } from './waiting-connections.ts'
import { WorkerChoice } from './worker-choice.ts'
import { type ForkWorker, WorkerProcess } from './worker-process.ts'

export interface WorkerPoolOptions {
  readonly fork: ForkWorker
  /** Read again for each worker. */
  readonly settings: () => Promise<Omit<WorkerSettings, 'worker'>>
  /** Until when this node may serve now; undefined where it serves without a lease. */
  readonly lease: () => LeaseTimes | undefined
  readonly limits: WorkerLimits
  /** Eight unless given. */
  readonly drainingMax?: number
  readonly deps: MonitorDeps
  readonly log: Log
}

const beatMs = 1000
const beatsPerCount = 5
/** So many workers may serve their last sessions: from then on none is replaced that can serve on. */
const oldMax = 8
const backOffMs = [0, 500, 1000, 2000, 5000, 10_000]
/** A worker that lived this long did not fail at its start. */
const settledMs = 10_000

/** The workers: started, watched, replaced; each new connection goes to one of them. */
export class WorkerPool {
  readonly #options: WorkerPoolOptions
  readonly #log: Log
  readonly #workers = new Set<WorkerProcess>()
  readonly #workerOf = new Map<ConnectionId, WorkerProcess>()
  readonly #choice = new WorkerChoice<WorkerProcess>()
  /** Workers that have ended, and whose sessions are not all ended on record. */
  readonly #endings = new Set<WorkerProcess>()
  /** Workers whose successor is being started. */
  readonly #leaving = new Set<WorkerProcess>()
  readonly #heart: NodeJS.Timeout
  /** The counts of workers that have ended. */
  #past: Promise<Figures> = Promise.resolve([])
  readonly #known = workerMetrics()
  readonly #waiting: WaitingConnections
  #beats = 0
  #numbers = 0
  #failures = 0
  #isFilling = false
  #isClosing = false
  #restart: Promise<void> | undefined
  /** A restart replaces the workers that were started before. */
  #replaceBeforeMs = 0
  /** A worker has ended, or the pool closes. */
  #room = Promise.withResolvers<void>()

  private constructor(options: WorkerPoolOptions) {
    this.#options = options
    this.#log = options.log
    const { turnedAway } = options.deps.metrics
    this.#waiting = new WaitingConnections(() => turnedAway.inc({ reason: 'no-worker' }))
    this.#heart = setInterval(() => this.#beat(), beatMs)
    this.#heart.unref()
  }

  /** Resolves when all accept connections. */
  static async start(options: WorkerPoolOptions): Promise<WorkerPool> {
    const pool = new WorkerPool(options)
    try {
      const { workers } = options.limits
      await Promise.all(Array.from({ length: workers }, () => pool.#add()))
      return pool
    } catch (err) {
      await pool.close()
      throw err
    }
  }

  get sessions(): number {
    return [...this.#workers].reduce((sum, worker) => sum + worker.sessions, 0)
  }

  /** The process ids, for measuring memory. */
  get pids(): readonly number[] {
    return [...this.#workers].flatMap(({ pid }) => pid ?? [])
  }

  /** Gives it to a worker, or to the next one when none serves now. False when the pool is closing. */
  serve(connection: NewConnection): boolean {
    if (this.#isClosing) return false
    const worker = this.#pick()
    if (worker === undefined) {
      this.#waiting.add(connection)
      return true
    }
    const { id, socket, source, admitted } = connection
    this.#workerOf.set(id, worker)
    this.#choice.give(worker, source)
    worker.serve(id, socket, source, {
      release: () => {
        admitted.release()
        this.#workerOf.delete(id)
      },
    })
    return true
  }

  evict(id: ConnectionId): void {
    if (!this.#waiting.drop(id)) this.#workerOf.get(id)?.evict(id)
  }

  /** Whichever has it, or is about to. */
  killSession(session: SessionId, reason: string): void {
    for (const worker of this.#workers) worker.killSession(session, reason)
  }

  endForward(forward: string, reason: string): void {
    for (const worker of this.#workers) worker.endForward(forward, reason)
  }

  /** The metrics of each worker. */
  async metrics(): Promise<readonly Figures[]> {
    const answers = await Promise.all([
      this.#past,
      ...[...this.#workers].map((worker) => worker.metrics()),
    ])
    return answers.filter((answer) => answer !== undefined)
  }

  /**
   * Replaces the workers one by one; sessions go on in the old ones until they end. When too many old ones
   * still have sessions, the rest waits until one has ended.
   */
  restart(): Promise<void> {
    this.#replaceBeforeMs = performance.now()
    this.#restart ??= this.#replaceAll().finally(() => (this.#restart = undefined))
    return this.#restart
  }

  /** The lease has run out: workers end their own sessions; those that do not are killed. */
  leaseLapsed(withinMs: number): void {
    const workers = [...this.#workers]
    for (const worker of workers) worker.ping()
    setTimeout(
      () => {
        for (const worker of workers)
          if (worker.sessions > 0) worker.kill('it serves without a lease')
      },
      Math.max(0, withinMs),
    )
  }

  /** Sessions go on; no new connections are served. */
  drain(): void {
    this.#isClosing = true
    this.#room.resolve()
    this.#waiting.close()
    for (const worker of this.#workers) worker.drain('stop')
  }

  /** Ends the remaining sessions within this time. */
  async close(withinMs = 3000): Promise<void> {
    this.#isClosing = true
    this.#room.resolve()
    this.#waiting.close()
    clearInterval(this.#heart)
    for (const worker of this.#workers) worker.stop('stop')
    const timer = setTimeout(() => {
      for (const worker of this.#workers) worker.kill('it does not stop')
    }, withinMs)
    await Promise.all([...this.#workers, ...this.#endings].map((worker) => worker.ended))
    clearTimeout(timer)
  }

  async #add(): Promise<WorkerProcess> {
    const { fork, deps, log, settings, lease } = this.#options
    const worker: WorkerProcess = new WorkerProcess({
      fork,
      settings: { ...(await settings()), worker: ++this.#numbers },
      deps,
      known: this.#known,
      lease,
      loggedIn: (source, user) => this.#choice.loggedIn(worker, source, user),
      log,
    })
    this.#workers.add(worker)
    if (this.#isClosing) worker.stop('stop')
    // A log that takes nothing now must not keep the next worker from its start.
    const replaced = worker.over.then(() => {
      this.#workers.delete(worker)
      this.#choice.forget(worker)
      this.#room.resolve()
      this.#endings.add(worker)
      this.#retire(worker)
      const settled = performance.now() - worker.startedAtMs > settledMs
      if (settled) this.#failures = 0
      else if (!worker.isDraining) this.#failures++
      this.#fill()
    })
    background(replaced, this.#log, 'the successor of a worker')
    const ended = worker.ended.then(() => this.#endings.delete(worker))
    background(ended, this.#log, 'the end of a worker')
    await worker.ready
    for (const connection of this.#waiting.take()) this.serve(connection)
    this.#trim()
    return worker
  }

  #retire({ lastMetrics }: WorkerProcess): void {
    if (lastMetrics === undefined) return
    this.#past = this.#past.then((past) => retireFigures([past, lastMetrics]))
  }

  /** Those that serve, or are about to. */
  get #staying(): readonly WorkerProcess[] {
    return [...this.#workers].filter(({ isDraining, isGone }) => !isDraining && !isGone)
  }

  /**
   * Starts the missing workers, one after the other, and tries again later when one cannot start.
   */
  #fill(): void {
    const isMissing = this.#staying.length < this.#options.limits.workers
    if (this.#isClosing || this.#isFilling || !isMissing) return
    this.#isFilling = true
    const delay = backOffMs[Math.min(this.#failures, backOffMs.length - 1)] ?? 0
    setTimeout(() => {
      // Another call may have started one meanwhile.
      const stillIs = this.#staying.length < this.#options.limits.workers
      const added = this.#isClosing || !stillIs ? Promise.resolve() : this.#add()
      added
        .catch((err: unknown) => {
          // Of one that ended before it could serve, its end has counted.
          if (!(err instanceof WorkerFailed)) this.#failures++
          this.#log.error({ err }, 'a worker did not start')
        })
        .finally(() => {
          this.#isFilling = false
          this.#fill()
        })
    }, delay).unref()
  }

  /**
   * If a worker died while its successor was started, it has got another one: then there is one too
   * many.
   */
  #trim(): void {
    const surplus = this.#staying.length - this.#leaving.size - this.#options.limits.workers
    const newest = this.#staying.filter((worker) => !this.#leaving.has(worker)).slice(-1)[0]
    if (surplus > 0) newest?.drain('restart')
  }

  async #replaceAll(): Promise<void> {
    this.#log.info({ workers: this.#old.length }, 'replacing the workers')
    while (this.#old.length > 0 && !this.#isClosing) {
      await this.#waitForRoom()
      const [worker] = this.#old
      if (worker !== undefined && !this.#isClosing) await this.#succeed(worker)
    }
  }

  /** Those that a restart has still to replace. */
  get #old(): readonly WorkerProcess[] {
    return this.#staying.filter(
      (worker) => worker.startedAtMs < this.#replaceBeforeMs && !this.#leaving.has(worker),
    )
  }

  get #hasRoom(): boolean {
    const draining = [...this.#workers].filter(({ isDraining }) => isDraining)
    return draining.length + this.#leaving.size < (this.#options.drainingMax ?? oldMax)
  }

  /** Old workers must not fill the machine, and none of their sessions is cut for a restart. */
  async #waitForRoom(): Promise<void> {
    if (this.#hasRoom || this.#isClosing) return
    this.#log.warn('workers are replaced later: too many old ones still have sessions')
    while (!this.#hasRoom && !this.#isClosing) {
      this.#room = Promise.withResolvers()
      await this.#room.promise
    }
  }

  /** Another takes its place, once it can. */
  async #succeed(worker: WorkerProcess): Promise<void> {
    this.#leaving.add(worker)
    try {
      await this.#add()
      worker.drain('restart')
    } finally {
      this.#leaving.delete(worker)
      this.#room.resolve()
      this.#trim()
    }
  }

  #pick(): WorkerProcess | undefined {
    const able = [...this.#workers].filter(({ isServing }) => isServing)
    const quick = able.filter(({ owed }) => owed < 2)
    return this.#choice.choose(quick.length > 0 ? quick : able)
  }

  /** A suspect keeps its sessions: that a worker is bad is for an operator to say. */
  #review(): void {
    const serving = [...this.#workers].filter(({ isServing }) => isServing)
    for (const { number, pid } of this.#choice.review(serving)) {
      this.#options.deps.metrics.workersSuspected.inc()
      this.#log.error(
        { worker: number, pid },
        'users log in at the other workers and not at this one: it gets no connections; it may be taken over',
      )
    }
  }

  #beat(): void {
    const { softBytes, hardBytes } = this.#options.limits
    // The counts of a killed worker are those of its last report.
    if (++this.#beats % beatsPerCount === 0) {
      background(this.metrics(), this.#log, 'the figures of workers')
      this.#review()
    }
    for (const worker of this.#workers) {
      if (worker.isGone) continue
      if (worker.isHung) {
        worker.kill('it does not answer')
        continue
      }
      worker.ping()
      const bytes = worker.residentBytes
      if (bytes !== undefined && bytes > hardBytes) worker.kill('it is far too large')
      else if (worker.isDraining || this.#leaving.has(worker)) continue
      else if (bytes !== undefined && bytes > softBytes && this.#hasRoom) {
        this.#log.warn({ worker: worker.number, bytes }, 'replacing a worker that has grown')
        this.#succeed(worker).catch((err: unknown) =>
          this.#log.error({ err }, 'a worker did not start'),
        )
      }
    }
  }
}
