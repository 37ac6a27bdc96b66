import { Counter, Histogram } from 'prom-client'
import type { Metrics } from '../metrics.ts'

type Labels = 'listener' | 'status'

export interface HttpMetrics {
  readonly requests: Counter<Labels>
  readonly seconds: Histogram<'listener'>
  readonly refusals: Counter<'listener' | 'reason'>
}

const made = new WeakMap<Metrics, HttpMetrics>()

/** Both listeners count in one registry, which takes each metric once. */
export function httpMetrics(registry: Metrics): HttpMetrics {
  const known = made.get(registry)
  if (known !== undefined) return known
  const registers = [registry]
  const metrics: HttpMetrics = {
    requests: new Counter({
      name: 'bastion_http_requests_total',
      help: 'HTTP requests answered, by listener and class of status.',
      labelNames: ['listener', 'status'],
      registers,
    }),
    seconds: new Histogram({
      name: 'bastion_http_request_seconds',
      help: 'Time from a request to the end of its reply.',
      labelNames: ['listener'],
      buckets: [0.005, 0.02, 0.1, 0.5, 2, 10],
      registers,
    }),
    refusals: new Counter({
      name: 'bastion_http_refusals_total',
      help: 'Connections to pages refused before their request was read, by listener and reason.',
      labelNames: ['listener', 'reason'],
      registers,
    }),
  }
  made.set(registry, metrics)
  return metrics
}
