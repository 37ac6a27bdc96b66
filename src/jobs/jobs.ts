import type { z } from 'zod'
import { appendEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import {
  type Database,
  openQueueConnection,
  parseTenantId,
  type TenantId,
  type WriteTx,
} from '../postgres/index.ts'
import type { Secret } from '../secret.ts'
import { connectionOf, openBoss } from './boss.ts'
import { JobMissing, JobStateWrong, QueueDown } from './errors.ts'
import type { Job, Schedule } from './job.ts'
import { isLane, laneNames } from './lanes.ts'
import { jobMetrics } from './metrics.ts'
import { findJob, findProgress, type JobRow, listJobs, type StoredState } from './queries.ts'
import { Queue } from './queue.ts'
import { countStates } from './queue-counts.ts'
import { Runners } from './runners.ts'
import { scheduleJobs } from './schedules.ts'

export const jobStates = ['waiting', 'running', 'done', 'failed', 'cancelled'] as const
export type JobState = (typeof jobStates)[number]

/** A job as people see it: it has no input, whose ids tell them nothing. */
export interface JobView {
  readonly id: string
  /** The slug; undefined for the platform's own. */
  readonly tenant: string | undefined
  readonly tenantId: string
  readonly kind: string
  readonly lane: string
  readonly state: JobState
  /** Tries that have begun, and how many there may be. */
  readonly tries: number
  readonly triesMax: number
  readonly createdAt: Date
  /** When it may begin. */
  readonly startAfter: Date
  readonly startedAt: Date | undefined
  readonly endedAt: Date | undefined
  /** The code of the last failure. */
  readonly problem: string | undefined
}

/** The person or program who acts on a job, for the log. */
export interface JobActor {
  readonly kind: 'user' | 'operator' | 'system'
  readonly id: string
  readonly name: string
}

export interface Jobs {
  /**
   * Adds a job in the transaction of the act. Answers its id; undefined when one of the same key waits already.
   * Throws JobsFull and JobInputInvalid before anything in the transaction fails.
   */
  add<Input extends z.ZodType>(
    tx: WriteTx,
    tenant: TenantId,
    job: Job<Input>,
    input: z.input<Input>,
    options?: { readonly startAfterSeconds?: number },
  ): Promise<string | undefined>
  /** Newest first, of one tenant or of all. */
  list(filter: {
    readonly tenant?: TenantId
    readonly state?: JobState
    readonly limit: number
  }): Promise<readonly JobView[]>
  /** Throws JobMissing. */
  get(id: string): Promise<JobView & { readonly progress: JobProgress | undefined }>
  /** Tries a failed job once more. On the log. Throws JobMissing, JobStateWrong. */
  retry(id: string, actor: JobActor): Promise<JobView>
  /** Ends a job that waits, or runs: the signal of its turn aborts within seconds. On the log. Throws likewise. */
  cancel(id: string, actor: JobActor): Promise<JobView>
  /** Begins to work on jobs, in the background: whether the queue can be reached or not. */
  work(options: { readonly jobs: readonly Job[]; readonly schedules: readonly Schedule[] }): Working
  /** Opens the queue for a moment, as a node does, and looks how much lies in it. Throws QueueDown. */
  look(): Promise<QueueLook>
}

export interface QueueLook {
  readonly waiting: number
  readonly running: number
  /** In the last week. */
  readonly failed: number
}

export interface JobProgress {
  readonly done: number
  readonly total: number | undefined
  readonly note: string | undefined
  readonly at: Date
}

/** A node that works on jobs. */
export interface Working {
  /** Throws QueueDown unless this node can work on jobs now. */
  requireUp(): Promise<void>
  /** Takes no more jobs and waits for those that run; jobs that take longer go back to the queue. */
  stop(withinMs: number): Promise<void>
}

interface JobsDeps {
  /** In the application's role. */
  readonly database: Database
  /** The login of the queue's own role. */
  readonly url: Secret<string>
  readonly log: Log
  readonly metrics: Metrics
}

export function createJobs(deps: JobsDeps): Jobs {
  const { database } = deps
  const queue = new Queue(database)
  const find = async (id: string) => {
    const isId = parseTenantId(id) !== undefined
    const row = isId ? await database.system((tx) => findJob(tx, laneNames, id)) : undefined
    const tenant = parseTenantId(row?.tenant ?? '')
    if (row === undefined || tenant === undefined || !isLane(row.lane)) throw new JobMissing(id)
    return { row, tenant, lane: row.lane }
  }
  const act = async (verb: 'retry' | 'cancel', id: string, actor: JobActor) => {
    const { row, tenant, lane } = await find(id)
    await database.write(tenant, async (tx) => {
      if (!(await queue[verb](tx, lane, id))) throw new JobStateWrong(verb, stateOf(row.state))
      await appendEvent(tx, {
        type: `job.${verb}`,
        public: { job: id, jobKind: row.kind ?? '', actor: actor.id, actorKind: actor.kind },
        private: { actorName: actor.name },
      })
    })
    return viewOf((await find(id)).row)
  }
  return {
    add: (...given) => queue.add(...given),
    async list({ tenant, state, limit }) {
      const states = state && storedStates[state]
      const filter = { tenant, states, limit }
      const rows = await database.system((tx) => listJobs(tx, laneNames, filter))
      return rows.map(viewOf)
    },
    async get(id) {
      const { row, tenant } = await find(id)
      const found = await database.read(tenant, (tx) => findProgress(tx, id))
      const progress = found && {
        ...found,
        total: found.total ?? undefined,
        note: found.note ?? undefined,
      }
      return { ...viewOf(row), progress }
    },
    retry: (id, actor) => act('retry', id, actor),
    cancel: (id, actor) => act('cancel', id, actor),
    work: (options) => startWork({ ...deps, queue, ...options }),
    look: () => lookAt(deps),
  }
}

async function lookAt({ url, log, metrics }: JobsDeps): Promise<QueueLook> {
  const connection = openQueueConnection({ url, log, metrics })
  try {
    await connection.ping()
    const boss = await openBoss({ db: connectionOf(connection), supervise: false, schedule: false })
    boss.on('error', () => {})
    // Refuses a schema of another version.
    await boss.start()
    await boss.stop({ graceful: false })
    return await countStates(connection)
  } catch (err) {
    throw new QueueDown(err)
  } finally {
    await connection.close()
  }
}

function startWork({
  database,
  queue,
  log,
  metrics,
  url,
  jobs,
  schedules,
}: JobsDeps & Parameters<Jobs['work']>[0] & { readonly queue: Queue }): Working {
  const scoped = log.child({ module: 'jobs' })
  const connection = openQueueConnection({ url, log, metrics })
  const addMany: Parameters<typeof scheduleJobs>[0]['addMany'] = (lane, many) =>
    runners.addMany(lane, many)
  const { tick, eachTenant } = scheduleJobs({ database, queue, schedules, addMany })
  const runners = new Runners({
    ...{ database, queue, connection, tick, log: scoped },
    jobs: [...jobs, tick, eachTenant],
    metrics: jobMetrics(metrics),
  })
  queue
    .prime()
    .catch((err: unknown) => scoped.warn({ err }, 'the lanes of jobs cannot be read yet'))
  runners.start()
  return runners
}

const storedStates: { readonly [S in JobState]: readonly StoredState[] } = {
  waiting: ['created', 'retry'],
  running: ['active'],
  done: ['completed'],
  failed: ['failed'],
  cancelled: ['cancelled'],
}

function stateOf(stored: StoredState): JobState {
  const found = jobStates.find((state) => storedStates[state].includes(stored))
  if (found === undefined) throw new Error('a state that the library did not have')
  return found
}

function viewOf({ slug, tenant, startedAt, endedAt, problem, kind, ...row }: JobRow): JobView {
  return {
    ...row,
    kind: kind ?? '',
    tenant: slug ?? undefined,
    tenantId: tenant ?? '',
    state: stateOf(row.state),
    startedAt: startedAt ?? undefined,
    endedAt: endedAt ?? undefined,
    problem: problem ?? undefined,
  }
}
