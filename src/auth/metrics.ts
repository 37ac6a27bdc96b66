import { Counter } from 'prom-client'
import type { Metrics } from '../metrics.ts'

interface AuthMetrics {
  readonly attempts: Counter<'method' | 'outcome'>
}

export function authMetrics(registry: Metrics): AuthMetrics {
  return {
    attempts: new Counter({
      name: 'bastion_auth_attempts_total',
      help: 'Proofs of identity that were checked, by method and outcome.',
      labelNames: ['method', 'outcome'],
      registers: [registry],
    }),
  }
}
