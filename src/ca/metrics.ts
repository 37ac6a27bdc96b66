import { Counter, Histogram } from 'prom-client'
import type { Metrics } from '../metrics.ts'

export interface CaMetrics {
  readonly issued: Counter<'kind'>
  readonly issueSeconds: Histogram
}

export function caMetrics(registry: Metrics): CaMetrics {
  const registers = [registry]
  return {
    issued: new Counter({
      name: 'bastion_certificates_total',
      help: 'Certificates signed, by their kind.',
      labelNames: ['kind'],
      registers,
    }),
    issueSeconds: new Histogram({
      name: 'bastion_certificate_issue_seconds',
      help: 'Time from the request of a certificate to its signature, the commit included.',
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5],
      registers,
    }),
  }
}
