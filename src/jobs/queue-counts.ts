import type { Gauge } from 'prom-client'
import { z } from 'zod'
import type { QueueConnection } from '../postgres/index.ts'
import { laneNames } from './lanes.ts'
import { otherKind } from './metrics.ts'

const states = ['waiting', 'running', 'failed'] as const
const counts = z.array(z.object({ kind: z.string(), state: z.enum(states), count: z.int() }))

const totals = z.tuple([z.object({ waiting: z.int(), running: z.int(), failed: z.int() })])

/** Over all tenants and kinds. */
export async function countStates(connection: QueueConnection) {
  const { rows } = await connection.executeSql(
    `select count(*) filter (where state < 'active') as waiting,
         count(*) filter (where state = 'active') as running,
         count(*) filter (where state = 'failed') as failed
       from pgboss.job_common where name = any($1)`,
    [[...laneNames]],
  )
  return totals.parse(rows)[0]
}

/** Jobs by kind and state, over all tenants. Kinds that this program does not know are one. */
export async function countJobs(
  connection: QueueConnection,
  kinds: readonly string[],
  gauge: Gauge<'kind' | 'state'>,
): Promise<void> {
  const { rows } = await connection.executeSql(
    `select case when data ->> 'kind' = any($1) then data ->> 'kind' else $2 end as kind,
         case state when 'active' then 'running' when 'failed' then 'failed' else 'waiting' end as state,
         count(*)
       from pgboss.job_common
       where name = any($3) and state in ('created', 'retry', 'active', 'failed') group by 1, 2`,
    [[...kinds], otherKind, [...laneNames]],
  )
  const found = counts.parse(rows)
  for (const kind of [...kinds, otherKind]) {
    for (const state of states) {
      const known = found.find((one) => one.kind === kind && one.state === state)
      gauge.set({ kind, state }, known?.count ?? 0)
    }
  }
}
