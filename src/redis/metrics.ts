import { Counter, Gauge } from 'prom-client'
import type { Metrics } from '../metrics.ts'

export interface CoordinationMetrics {
  readonly up: Gauge
  readonly failures: Counter
}

export function coordinationMetrics(registry: Metrics): CoordinationMetrics {
  const registers = [registry]
  return {
    up: new Gauge({
      name: 'bastion_redis_up',
      help: 'Whether the last attempt to use Redis succeeded.',
      registers,
    }),
    failures: new Counter({
      name: 'bastion_redis_failures_total',
      help: 'Failed attempts to use Redis. The work went on without Redis.',
      registers,
    }),
  }
}
