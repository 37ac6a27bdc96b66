import { Counter, Gauge, Histogram } from 'prom-client'
import type { Metrics } from '../../metrics.ts'

export type AuthOutcome = 'accepted' | 'refused'
export type Turned = 'start-rate' | 'crowded' | 'draining' | 'user-limit' | 'penalty' | 'no-worker'

/** The metrics that the main process keeps. */
export interface BastionMetrics {
  readonly connections: Gauge
  readonly turnedAway: Counter<'reason'>
  readonly departures: Counter<'how'>
  readonly heldSources: Counter
  readonly authentications: Counter<'outcome'>
  readonly handshakeSeconds: Histogram
  readonly forgedRequests: Counter
  readonly workersKilled: Counter
  readonly workersSuspected: Counter
}

export function createBastionMetrics(registry: Metrics): BastionMetrics {
  const registers = [registry]
  return {
    connections: new Gauge({
      name: 'bastion_connections',
      help: 'Client connections open now.',
      registers,
    }),
    turnedAway: new Counter({
      name: 'bastion_connections_turned_away_total',
      help: 'Connections closed before any cryptography, or of a user with too many, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    departures: new Counter<'how'>({
      name: 'bastion_departures_total',
      help: 'Connections that ended without a login, by the way they ended.',
      labelNames: ['how'],
      registers,
    }),
    heldSources: new Counter({
      name: 'bastion_penalties_enforced_total',
      help: 'How often an address was refused because of its earlier connections.',
      registers,
    }),
    authentications: new Counter({
      name: 'bastion_authentications_total',
      help: 'Signed login attempts, by outcome.',
      labelNames: ['outcome'],
      registers,
    }),
    handshakeSeconds: new Histogram({
      name: 'bastion_handshake_seconds',
      help: 'Time from the first byte of a connection to its accepted login.',
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    }),
    forgedRequests: new Counter({
      name: 'bastion_worker_requests_forged_total',
      help: 'Requests that no honest worker makes. Above 0, a worker was taken over.',
      registers,
    }),
    workersKilled: new Counter({
      name: 'bastion_workers_killed_total',
      help: 'Workers that the main process killed, with the sessions in them; the log says why.',
      registers,
    }),
    workersSuspected: new Counter({
      name: 'bastion_workers_suspected_total',
      help: 'Workers at which users did not log in who logged in at others. Above 0, look at the log.',
      registers,
    }),
  }
}
