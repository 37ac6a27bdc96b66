import { Counter, Gauge } from 'prom-client'
import type { Metrics } from '../metrics.ts'

export interface AccessMetrics {
  readonly authorizations: Counter<'outcome'>
  readonly refusalsUnlogged: Counter
  readonly live: Gauge
  readonly kills: Counter<'why'>
  readonly owed: Gauge
  readonly owedRecordings: Gauge
  readonly owedFailures: Counter
  readonly recovered: Counter<'recording'>
}

export function accessMetrics(registry: Metrics): AccessMetrics {
  const registers = [registry]
  return {
    authorizations: new Counter({
      name: 'bastion_access_authorizations_total',
      help: 'Requests to open a target, by decision.',
      labelNames: ['outcome'],
      registers,
    }),
    refusalsUnlogged: new Counter({
      name: 'bastion_access_refusals_unlogged_total',
      help: 'Refusals that are not in the audit log, because the same user had too many in a minute.',
      registers,
    }),
    live: new Gauge({
      name: 'bastion_access_sessions_live',
      help: 'Sessions that this process has started and not ended.',
      registers,
    }),
    kills: new Counter({
      name: 'bastion_access_kills_total',
      help: 'Sessions that ended because access was taken away or an operator ended them, by reason.',
      labelNames: ['why'],
      registers,
    }),
    owed: new Gauge({
      name: 'bastion_access_ends_owed',
      help: 'Ends of sessions that wait to be put on record.',
      registers,
    }),
    owedRecordings: new Gauge({
      name: 'bastion_access_recordings_owed',
      help: 'Recordings of ended sessions that wait to be repaired and put on record.',
      registers,
    }),
    owedFailures: new Counter({
      name: 'bastion_access_ends_failed_total',
      help: 'Attempts to put an end on record that failed; each is tried again.',
      registers,
    }),
    recovered: new Counter({
      name: 'bastion_access_sessions_recovered_total',
      help: 'Sessions ended on record for a lost process, by the state of their recording.',
      labelNames: ['recording'],
      registers,
    }),
  }
}
