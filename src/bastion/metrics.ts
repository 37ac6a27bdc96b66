import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { type KnownMetrics, knownMetrics, type Metrics } from '../metrics.ts'
import { createRecorderMetrics } from '../recorder/index.ts'

export type AuthOutcome = 'accepted' | 'refused'
export type Turned = 'start-rate' | 'crowded' | 'draining' | 'user-limit' | 'penalty' | 'no-worker'

/** What the main process counts. */
export interface BastionMetrics {
  readonly connections: Gauge
  readonly turnedAway: Counter<'reason'>
  readonly departures: Counter<'how'>
  readonly heldSources: Counter
  readonly authentications: Counter<'outcome'>
  readonly handshakeSeconds: Histogram
}

/** What a worker counts. */
export interface ServiceMetrics {
  readonly sessions: Gauge<'kind'>
  readonly sessionsTotal: Counter<'kind' | 'outcome'>
  readonly upstreams: Gauge
  readonly upstreamSeconds: Histogram
  readonly relayBytes: Counter<'direction'>
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
      help: 'Connections that ended without a login, by how.',
      labelNames: ['how'],
      registers,
    }),
    heldSources: new Counter({
      name: 'bastion_penalties_enforced_total',
      help: 'Times that an address began to be held off for those who came from it.',
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
      help: 'From the first byte of a connection to its accepted login.',
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    }),
  }
}

/** What a worker may count, and no more. */
export function workerMetrics(): KnownMetrics {
  const registry = new Registry()
  createServiceMetrics(registry)
  createRecorderMetrics(registry, { lagMs: () => 0, recordings: () => 0 })
  return knownMetrics(registry)
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
      help: 'From dialling a target to being logged in there.',
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
