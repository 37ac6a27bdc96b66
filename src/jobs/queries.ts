import type { ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import type { Progress } from './job.ts'
import { waitingMax } from './lanes.ts'

/** Whether as many jobs of the kind wait for the tenant as may. */
export async function isFull(tx: ReadTx, kind: string): Promise<boolean> {
  const { waiting } = await tx.one<{ waiting: number }>(
    `select count(*) as waiting from (
       select from pgboss.job_common
         where group_id = app_tenant_id()::text and data ->> 'kind' = $1 and state < 'active'
         limit $2) waiting`,
    [kind, waitingMax],
  )
  return waiting >= waitingMax
}

/** Wakes the runners after the commit. Where the notifications are full, they find the job within seconds. */
export async function wakeRunners(tx: WriteTx, channel: string, lane: string): Promise<void> {
  await tx.many('select notify_if_room($1, $2)', [channel, lane])
}

/** Says whether a schedule is due, and sets when it is due next. */
export async function takeDue(tx: WriteTx, name: string, everySeconds: number): Promise<boolean> {
  const taken = await tx.run(
    `insert into job_schedule (name, due_at) values ($1, now() + make_interval(secs => $2))
       on conflict (tenant_id, name) do update set due_at = excluded.due_at
         where job_schedule.due_at <= now()`,
    [name, everySeconds],
  )
  return taken > 0
}

/** The next tenants by their ids. The platform's own is not among them. */
export function listTenants(
  tx: ReadTx,
  after: TenantId | undefined,
  max: number,
): Promise<{ readonly id: TenantId }[]> {
  return tx.many(
    `select tenant_id as id from tenant
       where $1::uuid is null or tenant_id > $1 order by 1 limit $2`,
    [after ?? null, max],
  )
}

/** Also removes what was said about jobs that are long gone. */
export async function putProgress(
  tx: WriteTx,
  job: string,
  { done, total, note }: Progress,
): Promise<void> {
  await tx.run(
    `with old as (delete from job_progress where at < now() - interval '30 days' and job_id <> $1)
     insert into job_progress (job_id, done, total, note) values ($1, $2, $3, $4)
       on conflict (tenant_id, job_id) do update
         set done = excluded.done, total = excluded.total, note = excluded.note, at = now()`,
    [job, done, total ?? null, note?.slice(0, 200) ?? null],
  )
}

export function deleteProgress(tx: WriteTx, job: string): Promise<number> {
  return tx.run('delete from job_progress where job_id = $1', [job])
}

export type StoredState = 'created' | 'retry' | 'active' | 'completed' | 'cancelled' | 'failed'

export interface JobRow {
  readonly id: string
  readonly lane: string
  readonly kind: string | null
  readonly tenant: string | null
  readonly slug: string | null
  readonly state: StoredState
  readonly tries: number
  readonly triesMax: number
  readonly createdAt: Date
  readonly startAfter: Date
  readonly startedAt: Date | null
  readonly endedAt: Date | null
  readonly problem: string | null
}

const columns = `j.id, j.name as lane, j.data ->> 'kind' as kind, j.group_id as tenant, t.slug,
  j.state::text as state, j.retry_count + (j.started_on is not null)::int as tries,
  j.retry_limit + 1 as "triesMax", j.created_on as "createdAt", j.start_after as "startAfter",
  j.started_on as "startedAt", j.completed_on as "endedAt", coalesce(j.output ->> 'message', j.output -> 'value' ->> 'message') as problem`
const withTenant = 'pgboss.job j left join tenant t on t.tenant_id::text = j.group_id'

/** Across tenants, newest first; without the library's own and, unless asked for, the looks of each minute. */
export function listJobs(
  tx: ReadTx,
  lanes: readonly string[],
  {
    tenant,
    states,
    limit,
  }: {
    readonly tenant: TenantId | undefined
    readonly states: readonly StoredState[] | undefined
    readonly limit: number
  },
): Promise<JobRow[]> {
  return tx.many(
    `select ${columns} from ${withTenant}
       where j.name = any($1) and ($2::text is null or j.group_id = $2)
         and ($3::text[] is not null or j.state <> 'completed'
           or j.data ->> 'kind' is distinct from 'jobs.tick')
         and ($3::text[] is null or j.state::text = any($3))
       order by j.created_on desc, j.id limit $4`,
    [lanes, tenant ?? null, states ?? null, limit],
  )
}

export function findJob(
  tx: ReadTx,
  lanes: readonly string[],
  id: string,
): Promise<JobRow | undefined> {
  return tx.maybe(`select ${columns} from ${withTenant} where j.name = any($1) and j.id = $2`, [
    lanes,
    id,
  ])
}

export interface StoredProgress {
  readonly done: number
  readonly total: number | null
  readonly note: string | null
  readonly at: Date
}

export function findProgress(tx: ReadTx, job: string): Promise<StoredProgress | undefined> {
  return tx.maybe('select done, total, note, at from job_progress where job_id = $1', [job])
}
