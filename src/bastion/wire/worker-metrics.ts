import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { type KnownMetrics, knownMetrics, type Metrics } from '../../metrics.ts'
import { createRecorderMetrics } from '../../recorder/index.ts'

/** The metrics that a worker keeps. */
export interface ServiceMetrics {
  readonly sessions: Gauge<'kind'>
  readonly sessionsTotal: Counter<'kind' | 'outcome'>
  readonly upstreams: Gauge
  readonly upstreamSeconds: Histogram
  readonly relayBytes: Counter<'direction'>
}

export function createServiceMetrics(registry: Metrics): ServiceMetrics {
  const registers = [registry]
  return {
    sessions: new Gauge({
      name: 'bastion_sessions',
      help: 'Sessions open now, by kind.',
      labelNames: ['kind'],
      registers,
    }),
    sessionsTotal: new Counter({
      name: 'bastion_sessions_total',
      help: 'Sessions that ended or were refused, by kind and outcome.',
      labelNames: ['kind', 'outcome'],
      registers,
    }),
    upstreams: new Gauge({
      name: 'bastion_upstream_connections',
      help: 'Connections to targets open now.',
      registers,
    }),
    upstreamSeconds: new Histogram({
      name: 'bastion_upstream_dial_seconds',
      help: 'Time from dialling a target to the login on it.',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30],
      registers,
    }),
    relayBytes: new Counter({
      name: 'bastion_relay_bytes_total',
      help: 'Channel bytes relayed, by direction: up is towards the target.',
      labelNames: ['direction'],
      registers,
    }),
  }
}

/** The metrics that a worker may report. The main process drops all others. */
export function workerMetrics(): KnownMetrics {
  const registry = new Registry()
  createServiceMetrics(registry)
  createRecorderMetrics(registry, { lagMs: () => 0, recordings: () => 0 })
  return knownMetrics(registry)
}
