import { Counter, Gauge, Histogram } from 'prom-client'
import type { Metrics } from '../metrics.ts'
import { eventTypes } from './event-types.ts'

// appendEvent is a plain function that every module calls, so its counters are the process's own;
// createAudit puts them on the registry that `/metrics` prints.

export const appends = new Counter({
  name: 'bastion_audit_appends_total',
  help: 'Events appended to an audit log, by the first word of their type.',
  labelNames: ['kind'],
  registers: [],
})

export const appendSeconds = new Histogram({
  name: 'bastion_audit_append_seconds',
  help: 'Time of one append, waiting for the lock of the log included.',
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  registers: [],
})

export const checkpoints = new Counter({
  name: 'bastion_audit_checkpoints_total',
  help: 'Attempts to sign the head of a log, by outcome.',
  labelNames: ['outcome'],
  registers: [],
})

export const inconsistentLogs = new Gauge({
  name: 'bastion_audit_inconsistent_logs',
  help: 'Logs that contradict their signed heads. They are not signed. Alert if this is above 0.',
  registers: [],
})

export const forgedCheckpoints = new Counter({
  name: 'bastion_audit_forged_checkpoints_total',
  help: 'Checkpoints found in the database that our key did not sign. Alert on any.',
  registers: [],
})

export const lostEvents = new Counter({
  name: 'bastion_audit_lost_events_total',
  help: 'Events that this process appended, and that are gone from their log. Alert on any.',
  registers: [],
})

for (const type of Object.keys(eventTypes)) appends.inc({ kind: kindOf(type) }, 0)
for (const outcome of ['signed', 'refused', 'failed']) checkpoints.inc({ outcome }, 0)

export function registerAuditMetrics(metrics: Metrics): void {
  metrics.registerMetric(appends)
  metrics.registerMetric(appendSeconds)
  metrics.registerMetric(checkpoints)
  metrics.registerMetric(inconsistentLogs)
  metrics.registerMetric(forgedCheckpoints)
  metrics.registerMetric(lostEvents)
}

export function kindOf(type: string): string {
  return type.split('.')[0] ?? type
}
