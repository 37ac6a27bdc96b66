import { Gauge, Histogram } from 'prom-client'
import type { Metrics } from '../metrics.ts'

export interface DatabaseMetrics {
  readonly connections: Gauge<'role' | 'state'>
  readonly waiting: Gauge<'role'>
  readonly transactionSeconds: Histogram<'role' | 'kind'>
}

/** The pools of a process share one set of metrics, with the role as label. */
export function databaseMetrics(registry: Metrics): DatabaseMetrics {
  const known = sets.get(registry)
  if (known !== undefined) return known
  const registers = [registry]
  const made: DatabaseMetrics = {
    connections: new Gauge({
      name: 'bastion_database_connections',
      help: 'Connections of the pool, in use or idle.',
      labelNames: ['role', 'state'],
      registers,
    }),
    waiting: new Gauge({
      name: 'bastion_database_waiting',
      help: 'Transactions that wait for a connection of the pool.',
      labelNames: ['role'],
      registers,
    }),
    transactionSeconds: new Histogram({
      name: 'bastion_database_transaction_seconds',
      help: 'Time of a transaction from its first statement to its end.',
      labelNames: ['role', 'kind'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15],
      registers,
    }),
  }
  sets.set(registry, made)
  return made
}

// A registry refuses a second metric of one name, and a process has a pool for each role.
const sets = new WeakMap<Metrics, DatabaseMetrics>()
