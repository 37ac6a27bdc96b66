import { collectDefaultMetrics, Registry } from 'prom-client'

/**
 * The registry that `/metrics` prints.
 *
 * The naming rule: prefix `bastion_`, base units, `_total` for counters; labels are small closed
 * sets (error kind, method, outcome), never ids or names of tenants.
 */
export type Metrics = Registry

export function createMetrics(): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  return registry
}
