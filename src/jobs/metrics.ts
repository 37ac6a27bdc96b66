import { Counter, Gauge, Histogram } from 'prom-client'
import type { Metrics } from '../metrics.ts'

export interface JobMetrics {
  readonly jobs: Gauge<'kind' | 'state'>
  readonly runs: Counter<'kind' | 'outcome'>
  readonly runSeconds: Histogram<'kind'>
  readonly up: Gauge
}

/** Jobs of a kind that this program does not know. */
export const otherKind = 'other'
export const outcomes = ['done', 'failed', 'lost'] as const

export function jobMetrics(registry: Metrics): JobMetrics {
  const registers = [registry]
  return {
    jobs: new Gauge({
      name: 'bastion_jobs',
      help: 'Jobs of the whole installation that wait, run or have failed in the last week: each node tells the same.',
      labelNames: ['kind', 'state'],
      registers,
    }),
    runs: new Counter({
      name: 'bastion_jobs_runs_total',
      help: 'Tries of jobs on this node, by outcome.',
      labelNames: ['kind', 'outcome'],
      registers,
    }),
    runSeconds: new Histogram({
      name: 'bastion_jobs_run_seconds',
      help: 'Time of one try of a job.',
      labelNames: ['kind'],
      buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200],
      registers,
    }),
    up: new Gauge({
      name: 'bastion_jobs_up',
      help: '1 when this node works on jobs. Alert if this is 0 for minutes.',
      registers,
    }),
  }
}
