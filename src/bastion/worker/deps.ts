import type { BastionLimits } from '../../config.ts'
import type { Log } from '../../log.ts'
import type { Recorder, RecordingPoint, SessionId } from '../../recorder/index.ts'
import type { ServerHostKey } from '../../ssh/index.ts'
import type { Broker, ConnectionId, FileNotes } from '../wire/calls.ts'
import type { ServiceMetrics } from '../wire/worker-metrics.ts'
import type { LeaseWatch } from './lease-watch.ts'
import type { TargetNames } from './target-names.ts'

/** What a worker serves clients with. Of all that is secret it has the host keys. */
export interface ServiceDeps {
  readonly broker: Broker
  readonly recorder: Pick<Recorder, 'start'>
  readonly metrics: ServiceMetrics
  readonly limits: BastionLimits
  readonly hostKeys: readonly ServerHostKey[]
  /** Resolves when the main process gets it even if this process ends at once. */
  readonly noteFiles: (
    connection: ConnectionId,
    session: SessionId,
    notes: FileNotes,
  ) => Promise<void>
  /** Nothing is left of a connection that went through another one. */
  readonly jumpClosed: (connection: ConnectionId) => void
  /** Tells the main process what is durable of a recording that grows. */
  readonly recorded: (connection: ConnectionId, session: SessionId, point: RecordingPoint) => void
  readonly lease: Pick<LeaseWatch, 'check'>
  readonly names: TargetNames
  readonly log: Log
}
