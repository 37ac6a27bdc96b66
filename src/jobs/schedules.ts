import { z } from 'zod'
import { type Database, systemTenant, type TenantId } from '../postgres/index.ts'
import { JobInputInvalid } from './errors.ts'
import { type Job, job, type Schedule } from './job.ts'
import { listTenants, takeDue } from './queries.ts'
import { type Queue, type Sent, sentOf } from './queue.ts'

/** Tenants to whom jobs are added in one statement. */
const batchSize = 500
const noInput = z.strictObject({})

/** Adds jobs for many tenants: only the queue's own role may, and it has no tenant. */
export type AddMany = (
  lane: Job['lane'],
  jobs: readonly (Sent & { readonly startAfter: number })[],
) => Promise<void>

/**
 * The jobs that make scheduled work come back: one looks each minute which schedules are due, and another one adds
 * a job for each tenant. Over all nodes there is one of each.
 */
export function scheduleJobs({
  database,
  queue,
  schedules,
  addMany,
}: {
  readonly database: Database
  readonly queue: Queue
  readonly schedules: readonly Schedule[]
  readonly addMany: AddMany
}): { readonly tick: Job; readonly eachTenant: Job } {
  const eachTenant = job({
    kind: 'jobs.each-tenant',
    lane: 'quick',
    input: z.strictObject({ schedule: z.string().max(64) }),
    key: ({ schedule }) => schedule,
    async run({ schedule: name }, turn) {
      const schedule = schedules.find((one) => one.name === name)
      if (schedule === undefined) throw new JobInputInvalid('names no schedule of this version')
      let done = 0
      for await (const tenants of tenantBatches(database)) {
        turn.signal.throwIfAborted()
        await addMany(
          schedule.job.lane,
          tenants.map((tenant) => spread(schedule, tenant)),
        )
        done += tenants.length
        await turn.report({ done })
      }
      await turn.finish(async () => {})
    },
  })
  const tick = job({
    kind: 'jobs.tick',
    lane: 'quick',
    input: noInput,
    key: () => 'tick',
    run: (_, turn) =>
      turn.finish(async (tx) => {
        for (const schedule of schedules) {
          if (!(await takeDue(tx, schedule.name, schedule.everySeconds))) continue
          if (schedule.for === 'platform') await queue.add(tx, systemTenant, schedule.job, {})
          else await queue.add(tx, systemTenant, eachTenant, { schedule: schedule.name })
        }
      }),
  })
  return { tick, eachTenant }
}

/** Each has a key: when the whole is tried again, none is added twice. */
function spread({ job: kind, spreadSeconds = 0 }: Schedule, tenant: TenantId) {
  return { ...sentOf(tenant, kind, {}), startAfter: Math.floor(Math.random() * spreadSeconds) }
}

async function* tenantBatches(database: Database): AsyncGenerator<readonly TenantId[]> {
  yield [systemTenant]
  for (let after: TenantId | undefined; ; ) {
    const tenants = await database.system((tx) => listTenants(tx, after, batchSize))
    if (tenants.length > 0) yield tenants.map(({ id }) => id)
    if (tenants.length < batchSize) return
    after = tenants.at(-1)?.id
  }
}
