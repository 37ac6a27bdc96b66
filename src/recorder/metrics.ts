import { Counter, Gauge } from 'prom-client'
import type { Metrics } from '../metrics.ts'
import type { RecordingFailed } from './errors.ts'

export interface RecorderMetrics {
  readonly bytes: Counter
  readonly failures: Counter<'reason'>
}

/** The lag is asked for when the metrics are read. */
export function createRecorderMetrics(
  registry: Metrics,
  now: { lagMs(): number; recordings(): number },
): RecorderMetrics {
  const registers = [registry]
  new Gauge({
    name: 'bastion_recorder_lag_seconds',
    help: 'How long the oldest output that is not in its recording has waited.',
    registers,
    collect() {
      this.set(now.lagMs() / 1000)
    },
  })
  new Gauge({
    name: 'bastion_recordings_open',
    help: 'Recordings being written now.',
    registers,
    collect() {
      this.set(now.recordings())
    },
  })
  const failures = new Counter({
    name: 'bastion_recorder_failures_total',
    help: 'Recordings that could not be written, by reason; each ended its session.',
    labelNames: ['reason'],
    registers,
  })
  for (const reason of ['full', 'hung', 'io'] satisfies RecordingFailed['reason'][]) {
    failures.inc({ reason }, 0)
  }
  return {
    bytes: new Counter({
      name: 'bastion_recorder_bytes_total',
      help: 'Bytes written to recordings.',
      registers,
    }),
    failures,
  }
}
