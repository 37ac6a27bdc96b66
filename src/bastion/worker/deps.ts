import type { BastionLimits } from '../../config.ts'
import type { Log } from '../../log.ts'
import type { Recorder } from '../../recorder/index.ts'
import type { ServerHostKey } from '../../ssh/index.ts'
import type { Broker, ConnectionId } from '../wire/calls.ts'
import type { ServiceMetrics } from '../wire/worker-metrics.ts'

/** What a worker serves clients with. Of all that is secret it has the host keys. */
export interface ServiceDeps {
  readonly broker: Broker
  readonly recorder: Pick<Recorder, 'start'>
  readonly metrics: ServiceMetrics
  readonly limits: BastionLimits
  readonly hostKeys: readonly ServerHostKey[]
  /** Nothing is left of a connection that went through another one. */
  readonly jumpClosed: (connection: ConnectionId) => void
  readonly log: Log
}
