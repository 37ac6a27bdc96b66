import type { Socket } from 'node:net'
import type { WorkerLimits } from '../config.ts'
import type { Log } from '../log.ts'
import { retireMetrics } from '../metrics.ts'
import type { SessionId } from '../recorder/index.ts'
import type { Admitted } from './admission.ts'
import type { ConnectionId } from './broker.ts'
import type { WorkerSettings } from './messages.ts'
import type { MonitorDeps } from './monitor.ts'
import { type ForkWorker, Worker } from './worker.ts'

export interface WorkerPoolOptions {
  readonly fork: ForkWorker
  /** Read anew for each worker. */
  readonly settings: () => Promise<Omit<WorkerSettings, 'worker'>>
  readonly limits: WorkerLimits
  readonly deps: MonitorDeps
  readonly log: Log
}

const beatMs = 1000
/** Beats without an answer: what hangs is gone within five seconds. */
const owedMax = 4
const beatsPerCount = 5
/** What it has served is remembered against replays until it ends. */
const loginsMax = 200_000
const drainingMax = 8
const backOffMs = [0, 500, 1000, 2000, 5000, 10_000]
/** Who lived so long did not fail at its start. */
const settledMs = 10_000

/** The workers: started, watched, replaced; each new connection goes to the one with the fewest. */
export class WorkerPool {
  readonly #options: WorkerPoolOptions
  readonly #log: Log
  readonly #workers = new Set<Worker>()
  readonly #served = new Map<ConnectionId, Worker>()
  /** Those whose successor is on its way, or here. */
  readonly #succeeded = new WeakSet<Worker>()
  readonly #heart: NodeJS.Timeout
  /** What those counted that are no more. */
  #past: Promise<string> = Promise.resolve('[]')
  #beats = 0
  #numbers = 0
  #failures = 0
  #isClosing = false
  #restart: Promise<void> | undefined

  private constructor(options: WorkerPoolOptions) {
    this.#options = options
    this.#log = options.log
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

  /** Process ids, for those who look at memory. */
  get pids(): readonly number[] {
    return [...this.#workers].flatMap(({ pid }) => pid ?? [])
  }

  /** False when there is nobody to serve it. */
  serve(id: ConnectionId, socket: Socket, source: string, admitted: Admitted): boolean {
    const worker = this.#pick()
    if (worker === undefined) return false
    this.#served.set(id, worker)
    worker.serve(id, socket, source, {
      release: () => {
        admitted.release()
        this.#served.delete(id)
      },
    })
    return true
  }

  evict(id: ConnectionId): void {
    this.#served.get(id)?.evict(id)
  }

  /** Whichever has it, or is about to. */
  killSession(session: SessionId, reason: string): void {
    for (const worker of this.#workers) worker.killSession(session, reason)
  }

  /** What each worker counted, as Prometheus' JSON. */
  async metrics(): Promise<readonly string[]> {
    const answers = await Promise.all([
      this.#past,
      ...[...this.#workers].map((worker) => worker.metrics()),
    ])
    return answers.filter((answer) => answer !== undefined)
  }

  /** Replaces the workers one by one; sessions go on in the old ones until they end. */
  restart(): Promise<void> {
    this.#restart ??= this.#replaceAll().finally(() => (this.#restart = undefined))
    return this.#restart
  }

  /** Sessions go on, and nobody new is served. */
  drain(): void {
    this.#isClosing = true
    for (const worker of this.#workers) worker.drain()
  }

  /** Ends what is left within so long. */
  async close(withinMs = 3000): Promise<void> {
    this.#isClosing = true
    clearInterval(this.#heart)
    for (const worker of this.#workers) worker.stop()
    const timer = setTimeout(() => {
      for (const worker of this.#workers) worker.kill('it does not stop')
    }, withinMs)
    await Promise.all([...this.#workers].map((worker) => worker.ended))
    clearTimeout(timer)
  }

  async #add(): Promise<Worker> {
    const { fork, deps, log, settings } = this.#options
    const worker = new Worker({
      fork,
      settings: { ...(await settings()), worker: ++this.#numbers },
      deps,
      log,
    })
    this.#workers.add(worker)
    void worker.ended.then(() => {
      this.#workers.delete(worker)
      this.#retire(worker)
      if (!this.#isClosing && !worker.isDraining) this.#replace(worker)
    })
    await worker.ready
    return worker
  }

  #retire({ lastMetrics }: Worker): void {
    if (lastMetrics === undefined) return
    this.#past = this.#past.then((past) => retireMetrics([past, lastMetrics]))
  }

  /** One has died that was to live. */
  #replace({ startedAtMs }: Worker): void {
    const settled = performance.now() - startedAtMs > settledMs
    this.#failures = settled ? 0 : this.#failures + 1
    const delay = backOffMs[Math.min(this.#failures, backOffMs.length - 1)] ?? 0
    setTimeout(() => {
      if (this.#isClosing) return
      this.#add().catch((err: unknown) => this.#log.error({ err }, 'a worker did not start'))
    }, delay).unref()
  }

  async #replaceAll(): Promise<void> {
    const old = [...this.#workers].filter((worker) => !worker.isDraining)
    this.#log.info({ workers: old.length }, 'replacing the workers')
    for (const worker of old) {
      if (this.#isClosing) return
      await this.#add()
      this.#drain(worker)
    }
  }

  /** Another takes its place, once it can. */
  #succeed(worker: Worker, bytes: number | undefined): void {
    if (this.#succeeded.has(worker)) return
    this.#succeeded.add(worker)
    this.#log.warn({ worker: worker.number, bytes, logins: worker.logins }, 'replacing a worker')
    this.#add().then(
      () => this.#drain(worker),
      (err: unknown) => {
        this.#succeeded.delete(worker)
        this.#log.error({ err }, 'a worker did not start')
      },
    )
  }

  #drain(worker: Worker): void {
    worker.drain()
    const draining = [...this.#workers].filter(({ isDraining }) => isDraining)
    // Whoever replaces workers all day must not fill the machine with old ones.
    if (draining.length > drainingMax) draining[0]?.stop()
  }

  #pick(): Worker | undefined {
    if (this.#isClosing) return undefined
    const able = [...this.#workers].filter(
      (worker) => worker.isReady && !worker.isDraining && !worker.isGone,
    )
    const quick = able.filter(({ owed }) => owed < 2)
    const from = quick.length > 0 ? quick : able
    return from.reduce<Worker | undefined>(
      (best, one) => (best === undefined || one.connections < best.connections ? one : best),
      undefined,
    )
  }

  #beat(): void {
    const { softBytes, hardBytes } = this.#options.limits
    // Of one that is killed it is known what it had counted a little before.
    if (++this.#beats % beatsPerCount === 0) void this.metrics()
    for (const worker of this.#workers) {
      if (worker.isGone) continue
      if (worker.owed >= owedMax) {
        worker.kill('it does not answer')
        continue
      }
      worker.ping()
      const bytes = worker.residentBytes
      if (bytes !== undefined && bytes > hardBytes) worker.kill('it is far too large')
      else if (worker.isDraining) continue
      else if ((bytes !== undefined && bytes > softBytes) || worker.logins > loginsMax) {
        this.#succeed(worker, bytes)
      }
    }
  }
}
