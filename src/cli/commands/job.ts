import { type Command, Option } from 'commander'
import { type JobState, type JobView, jobStates } from '../../jobs/index.ts'
import type { Context } from '../context.ts'
import { readableTime } from '../moment.ts'
import { type Column, formatFields } from '../table.ts'
import { type JsonOption, jsonOption, parseCount } from './options.ts'

const columns: readonly Column<JobView>[] = [
  { title: 'ADDED', value: ({ createdAt }) => readableTime(createdAt.toISOString()) },
  { title: 'TENANT', value: tenantOf },
  { title: 'KIND', value: ({ kind }) => kind },
  { title: 'STATE', value: ({ state }) => state },
  { title: 'TRIES', value: ({ tries, triesMax }) => `${tries}/${triesMax}`, align: 'right' },
  { title: 'PROBLEM', value: ({ problem }) => problem ?? '-' },
  { title: 'ID', value: ({ id }) => id },
]

/** job list, show, retry, cancel: background work, for the operator. */
export function jobCommands(program: Command, context: Context): void {
  const job = program.command('job').description('look after background work')
  job
    .command('list')
    .description('list jobs, newest first')
    .argument('[tenant]', 'only the jobs of this tenant')
    .addOption(new Option('--state <state>', 'only jobs in this state').choices(jobStates))
    .option('--limit <count>', 'the largest number of jobs', parseCount, 100)
    .addOption(jsonOption())
    .action(
      async (
        slug: string | undefined,
        { state, limit, json }: JsonOption & { readonly state?: JobState; readonly limit: number },
      ) => {
        const list = await context.withProduct('job list', async ({ jobs, tenants }) => {
          const tenant = slug === undefined ? undefined : (await tenants.find(slug)).id
          return jobs.list({ limit, ...(tenant && { tenant }), ...(state && { state }) })
        })
        await context.printList(list, { json, columns, toJson, none: 'no jobs' })
      },
    )
  job
    .command('show')
    .description('show all facts about one job')
    .argument('<id>')
    .addOption(jsonOption())
    .action(async (id: string, { json }: JsonOption) => {
      const { progress, ...found } = await context.withProduct('job show', ({ jobs }) =>
        jobs.get(id),
      )
      const shown = {
        ...toJson(found),
        done: progress?.done ?? null,
        total: progress?.total ?? null,
        note: progress?.note ?? null,
      }
      if (json === true) return context.printJson(shown)
      const fields = Object.entries(shown).filter(([, value]) => value !== null)
      await context.print(...formatFields(fields.map(([name, value]) => [name, String(value)])))
    })
  for (const verb of ['retry', 'cancel'] as const) {
    job
      .command(verb)
      .description(
        verb === 'retry' ? 'try a failed job once more' : 'end a job, also a running one',
      )
      .argument('<id>')
      .addOption(jsonOption())
      .action(async (id: string, { json }: JsonOption) => {
        const done = await context.withProduct(`job ${verb}`, ({ jobs }) =>
          jobs[verb](id, context.actor),
        )
        const line = verb === 'retry' ? `trying ${id} again` : `cancelled ${id}`
        await context.printDone(json, toJson(done), line)
      })
  }
}

function tenantOf({ tenant }: JobView): string {
  return tenant ?? 'the platform'
}

function toJson(job: JobView) {
  return {
    id: job.id,
    tenant: job.tenant ?? null,
    kind: job.kind,
    lane: job.lane,
    state: job.state,
    tries: job.tries,
    triesMax: job.triesMax,
    createdAt: job.createdAt.toISOString(),
    startAfter: job.startAfter.toISOString(),
    startedAt: job.startedAt?.toISOString() ?? null,
    endedAt: job.endedAt?.toISOString() ?? null,
    problem: job.problem ?? null,
  }
}
