import { setTimeout as sleep } from 'node:timers/promises'
import type { Job as Fetched, PgBoss } from 'pg-boss'
import { z } from 'zod'
import { CodedError, errorCode } from '../errors.ts'
import type { Log } from '../log.ts'
import {
  type Database,
  parseTenantId,
  type QueueConnection,
  systemTenant,
  type TenantId,
} from '../postgres/index.ts'
import { connectionOf, openBoss } from './boss.ts'
import { JobInputInvalid, JobLost, JobUnfinished, JobUnknown, QueueDown } from './errors.ts'
import type { Job, Turn } from './job.ts'
import { type Lane, laneNames, lanes } from './lanes.ts'
import { type JobMetrics, otherKind, outcomes } from './metrics.ts'
import { putProgress } from './queries.ts'
import { addedChannel, type Queue, type Sent, sentOf } from './queue.ts'
import { countJobs } from './queue-counts.ts'

/** Retries, delayed jobs and a tenant's next turn are found by asking: notifications tell of new jobs only. */
const polling = { pollingIntervalSeconds: 2, notifyPollingIntervalSeconds: 2 }
/** Any login of the server can send notifications: more of them make no more work. */
const wakeMs = 100
const startPauseMaxMs = 15_000
const countMs = 15_000
/** For the last statements, once jobs have ended or were given back. */
const stopGraceMs = 3000

const stored = z.object({ kind: z.string(), input: z.unknown() })

export interface RunnersDeps {
  /** In the application's role: the work of a job is done in it. */
  readonly database: Database
  readonly queue: Queue
  readonly connection: QueueConnection
  readonly jobs: readonly Job[]
  /** The job that looks each minute which schedules are due. */
  readonly tick: Job
  readonly metrics: JobMetrics
  readonly log: Log
}

/** Those of one node: they take jobs of both lanes until they are stopped. A queue that cannot be reached is tried again. */
export class Runners {
  readonly #deps: RunnersDeps
  readonly #stopping = new AbortController()
  #starting: Promise<void> | undefined
  #boss: PgBoss | undefined
  #isUp = false
  #problem: unknown
  #counting: NodeJS.Timeout | undefined
  /** Makes the runners of a lane look soon. */
  #wake: ((lane: string) => void) | undefined
  #stopped: Promise<void> | undefined

  constructor(deps: RunnersDeps) {
    this.#deps = deps
  }

  /** Returns at once. */
  start(): void {
    const { jobs, metrics } = this.#deps
    for (const kind of [...jobs.map((one) => one.kind), otherKind])
      for (const outcome of outcomes) metrics.runs.inc({ kind, outcome }, 0)
    metrics.up.set(0)
    this.#starting ??= this.#startUntilUp()
  }

  /** Throws QueueDown unless this node can work on jobs now. */
  async requireUp(): Promise<void> {
    if (!this.#isUp) throw new QueueDown(this.#problem)
    await this.#deps.connection.ping().catch((err: unknown) => {
      throw new QueueDown(err)
    })
  }

  /** Adds jobs of many tenants: those whose key waits already are left out. Throws QueueDown. */
  async addMany(lane: Lane, jobs: readonly Sent[]): Promise<void> {
    if (this.#boss === undefined) throw new QueueDown(this.#problem)
    await this.#boss.insert(lane, [...jobs])
  }

  /** Takes no more jobs and waits for those that run. The others go back to the queue. */
  stop(withinMs: number): Promise<void> {
    this.#stopped ??= Promise.race([
      this.#stop(withinMs).catch((err: unknown) =>
        this.#deps.log.warn({ err: shown(err) }, 'the job queue was not closed'),
      ),
      // A database that stands still must not hold up the end of the process.
      sleep(withinMs + stopGraceMs, undefined, { ref: false }),
    ])
    return this.#stopped
  }

  async #stop(withinMs: number): Promise<void> {
    this.#stopping.abort()
    clearInterval(this.#counting)
    await this.#starting
    this.#isUp = false
    this.#deps.metrics.up.set(0)
    await this.#end(this.#boss, withinMs)
    await this.#deps.connection.close()
  }

  async #startUntilUp(): Promise<void> {
    const { signal } = this.#stopping
    for (let pauseMs = 1000; !signal.aborted; pauseMs = Math.min(pauseMs * 2, startPauseMaxMs)) {
      try {
        await this.#begin()
        return
      } catch (err) {
        this.#problem = err
        this.#deps.log.warn({ err }, 'background work cannot begin: it is tried again')
      }
      await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  async #begin(): Promise<void> {
    const { connection, log, metrics, tick } = this.#deps
    // Before the library asks: this tells a wrong role by its name.
    await connection.ping()
    const boss = await openBoss({
      db: {
        ...connectionOf(connection),
        listen: (_channel, wake, wakeAll) => this.#listen(wake, wakeAll),
      },
      useListenNotify: true,
      superviseIntervalSeconds: 5,
      monitorIntervalSeconds: 5,
      cronMonitorIntervalSeconds: 10,
      cronWorkerIntervalSeconds: 5,
    })
    // Without a listener, an error would end the process.
    boss.on('error', (err) => log.warn({ err: shown(err) }, 'the job queue reports an error'))
    boss.on('warning', ({ message }) => log.warn({ warning: message }, 'the job queue warns'))
    try {
      await boss.start()
      for (const lane of laneNames) {
        await boss.createQueue(lane, { ...lanes[lane].queue, policy: 'stately' })
        await boss.updateQueue(lane, lanes[lane].queue)
        await this.#work(boss, lane)
      }
      const { data, ...options } = sentOf(systemTenant, tick, {})
      const kept = { key: 'tick', deleteAfterSeconds: 3600 }
      await boss.schedule(tick.lane, '* * * * *', data, { ...options, ...kept })
    } catch (err) {
      await this.#end(boss, 1000)
      throw err
    }
    this.#boss = boss
    this.#isUp = true
    metrics.up.set(1)
    this.#countAgainAndAgain()
    log.info('working on jobs')
  }

  async #end(boss: PgBoss | undefined, withinMs: number): Promise<void> {
    await boss
      ?.stop({ graceful: true, timeout: withinMs })
      .catch((err: unknown) => this.#deps.log.warn({ err }, 'the job queue was not closed'))
  }

  /** The library's own channel is not used: see lanes.ts. */
  async #listen(wake: (lane: string) => void, wakeAll: () => void) {
    const waiting = new Map<string, NodeJS.Timeout>()
    const wakeSoon = (lane: string) => {
      if (waiting.has(lane) || !laneNames.some((known) => known === lane)) return
      const timer = setTimeout(() => {
        waiting.delete(lane)
        wake(lane)
      }, wakeMs)
      waiting.set(lane, timer.unref())
    }
    this.#wake = wakeSoon
    const listening = await this.#deps.connection.listen(addedChannel, (payload) =>
      payload === undefined ? wakeAll() : wakeSoon(payload),
    )
    wakeAll()
    return {
      close: async () => {
        this.#wake = undefined
        for (const timer of waiting.values()) clearTimeout(timer)
        await listening.close()
      },
    }
  }

  async #work(boss: PgBoss, lane: Lane): Promise<void> {
    const options = {
      localConcurrency: lanes[lane].atOnce,
      // Not the library's count over all nodes: two runners that ask at once pass it.
      localGroupConcurrency: lanes[lane].atOncePerTenant,
      ...polling,
    }
    await boss.work<object>(lane, options, async ([fetched]) => {
      if (fetched === undefined) return
      // Where one was, there may be more: otherwise each runner would take one job in two seconds.
      await this.#try(lane, fetched).finally(() => this.#wake?.(lane))
    })
  }

  /** Whatever is thrown from here is kept in the row, with all its fields: a code, and nothing else. */
  async #try(lane: Lane, fetched: Fetched): Promise<void> {
    const { metrics, log } = this.#deps
    const read = stored.safeParse(fetched.data)
    const known = this.#deps.jobs.find((one) => one.lane === lane && one.kind === read.data?.kind)
    const kind = known?.kind ?? otherKind
    const stop = metrics.runSeconds.startTimer({ kind })
    try {
      await this.#run(lane, fetched, known, read.data?.input)
      metrics.runs.inc({ kind, outcome: 'done' })
    } catch (err) {
      const isLost = err instanceof JobLost
      metrics.runs.inc({ kind, outcome: isLost ? 'lost' : 'failed' })
      const facts = {
        err: shown(err),
        kind,
        job: fetched.id,
        tenant: fetched.groupId,
        tries: fetched.retryCount + 1,
      }
      log.warn(facts, isLost ? 'a job was taken by another try' : 'a job has failed')
      throw withoutStack(codeOf(err))
    } finally {
      stop()
    }
  }

  async #run(lane: Lane, fetched: Fetched, known: Job | undefined, given: unknown): Promise<void> {
    const tenant = parseTenantId(fetched.groupId ?? '')
    if (known === undefined || tenant === undefined) throw new JobUnknown()
    const input = known.input.safeParse(given)
    if (!input.success) throw new JobInputInvalid()
    let isFinished = false
    const turn = this.#turn(lane, fetched, tenant, () => {
      isFinished = true
    })
    await known.run(input.data, turn)
    if (!isFinished) throw new JobUnfinished()
  }

  #turn(lane: Lane, { id, retryCount, signal }: Fetched, tenant: TenantId, done: () => void): Turn {
    const { database, queue } = this.#deps
    return {
      tenant,
      job: id,
      signal,
      async finish(work) {
        await database.write(tenant, async (tx) => {
          await work(tx)
          await queue.complete(tx, lane, { id, retryCount })
        })
        done()
      },
      report: (progress) => database.write(tenant, (tx) => putProgress(tx, id, progress)),
    }
  }

  #countAgainAndAgain(): void {
    const { connection, jobs, metrics, log } = this.#deps
    const kinds = jobs.map(({ kind }) => kind)
    const count = () =>
      countJobs(connection, kinds, metrics.jobs).catch((err: unknown) =>
        log.debug({ err }, 'jobs could not be counted'),
      )
    count().catch(() => {})
    this.#counting = setInterval(count, countMs).unref()
  }
}

function codeOf(err: unknown): string {
  const code = err instanceof CodedError ? err.code : errorCode(err)
  return code !== undefined && /^ERR_[A-Z0-9_]{1,60}$/.test(code) ? code : 'ERR_INTERNAL'
}

function withoutStack(code: string): Error {
  const err = new Error(code)
  delete err.stack
  return err
}

/** Without its other fields: those of a refusal by the database quote values. */
function shown(err: unknown) {
  if (!(err instanceof Error)) return { message: messageOf(err) }
  return { type: err.name, message: err.message, code: errorCode(err), stack: err.stack }
}

/** Some errors of the library are plain objects. */
function messageOf(err: unknown): string {
  const parsed = z.object({ message: z.string() }).safeParse(err)
  return parsed.success ? parsed.data.message : 'unknown error'
}
